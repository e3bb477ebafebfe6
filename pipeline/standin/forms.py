"""`multipart/form-data` taken apart: the parts of one upload (RFC 7578), each whole in memory."""

import re
from dataclasses import dataclass, field

from pipeline.standin.problems import Problem

__all__ = ["Part", "parts_of"]

_PARAMETER = re.compile(r';\s*(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; a file has a name of its own."""

    name: str
    body: bytes = field(repr=False)
    filename: str | None = None
    content_type: str | None = None


def parts_of(raw: bytes, content_type: str) -> list[Part]:
    """The parts of a body.

    Raises:
        Problem: 400: it is no form.
    """
    kind, _, parameters = content_type.partition(";")
    found = re.search(r'boundary="?([^";]+)"?', parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        raise Problem.invalid("content-type: Input should be 'multipart/form-data' with a boundary")
    fence = b"\r\n--" + found[1].strip().encode()
    pieces = (b"\r\n" + raw).split(fence)
    if len(pieces) < 3 or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise Problem.invalid("The request body is not a valid form")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, blank, body = piece.partition(b"\r\n\r\n")
    headers = {}
    for line in head.decode("utf-8", "replace").strip().split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    given = dict(_PARAMETER.findall(headers.get("content-disposition", "")))
    if not blank or "name" not in given:
        raise Problem.invalid("The request body is not a valid form")
    return Part(given["name"], body, given.get("filename"), headers.get("content-type"))
