"""Text manifests, row by row with their line numbers: csv, tsv, jsonl, and one image a line.

Lines are read with a cap, so that a file without line ends costs no memory; a line over the cap, or one that is not
UTF-8, costs itself. What damages the whole file (UTF-16, a quote that is never closed) raises `ManifestError`.
"""

import csv
import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from pipeline.errors import ManifestError

__all__ = ["BadRow", "Lines", "csv_rows", "jsonl_rows", "txt_rows"]

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_QUOTED_LINES = 10_000
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class BadRow:
    """A row that cannot be read: its line, its bytes (the first kilobyte) and the reason."""

    __slots__ = ("line", "raw", "reason")

    def __init__(self, line: int, raw: bytes, reason: str) -> None:
        self.line, self.raw, self.reason = line, raw[:1024], reason


class Lines:
    """The lines of a stream, numbered from 1.

    Raises:
        ManifestError: the stream is UTF-16.
    """

    def __init__(self, stream: BufferedIOBase, name: str) -> None:
        self._stream = stream
        self.name = name
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._stream.readline(MAX_LINE_BYTES + 1):
            self.number += 1
            if self.number == 1:
                line = self._without_mark(line)
            if len(line) > MAX_LINE_BYTES:
                self._skip_rest()
            yield line

    def _without_mark(self, line: bytes) -> bytes:
        if line.startswith(_UTF16):
            raise ManifestError(f"{self.name}:1: UTF-16; allowed is UTF-8: save or convert the manifest as UTF-8")
        return line.removeprefix(b"\xef\xbb\xbf")

    def _skip_rest(self) -> None:
        while (more := self._stream.readline(1 << 20)) and not more.endswith(b"\n"):
            pass


def _readable(line: bytes) -> str | None:
    """Why a line cannot be read, or `None`."""
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES} bytes"
    if b"\0" in line:
        return "holds a NUL character"
    return None


def csv_rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Rows of a csv or tsv file, the header among them, each with the line it starts on.

    Raises:
        ManifestError: a quoted field is opened and never closed.
    """
    state = {"start": 1, "fault": None, "raw": b"", "count": 0}

    def feed() -> Iterator[str]:
        for line in lines:
            state["count"] = int(state["count"] or 0) + 1
            fault = _readable(line)
            text = ""
            if fault is None:
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    fault = f"not UTF-8 at byte {error.start + 1} of the line"
            if fault is not None:
                state["fault"], text = fault, "\n"
            state["raw"] = line
            yield text

    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        start = lines.number + 1
        state["fault"], state["count"] = None, 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise ManifestError(f"{lines.name}:{start}: a quoted field is opened here and never closed") from None
            yield start, BadRow(start, bytes(state["raw"] or b""), f"not valid csv: {error}")
            continue
        if state["fault"] is not None:
            yield start, BadRow(start, bytes(state["raw"] or b""), str(state["fault"]))
        elif row:
            yield start, row


def jsonl_rows(lines: Lines) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Objects of a jsonl file, each with its line; blank lines are passed over."""
    for line in lines:
        number = lines.number
        if not line.strip():
            continue
        fault = _readable(line)
        if fault is not None:
            yield number, BadRow(number, line, fault)
            continue
        try:
            value = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            yield number, BadRow(number, line, f"not valid JSON: {reason}")
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            yield number, BadRow(number, line, f"a JSON {type(value).__name__}; allowed: an object")


def txt_rows(lines: Lines) -> Iterator[tuple[int, str | BadRow]]:
    """Image references, one a line; blank lines are passed over."""
    for line in lines:
        number = lines.number
        bare = line.rstrip(b"\r\n")
        if not bare.strip():
            continue
        fault = _readable(bare)
        try:
            text = bare.decode() if fault is None else ""
        except UnicodeDecodeError as error:
            fault = f"not UTF-8 at byte {error.start + 1} of the line"
        yield number, (BadRow(number, line, fault) if fault else text)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
