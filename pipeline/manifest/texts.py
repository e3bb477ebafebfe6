"""Text manifests, row by row with their line numbers: jsonl, and one image a line; csv builds on the same lines.

Lines are read with a cap, so that a file without line ends costs no memory; a line over a cap, or one that is not
UTF-8, costs itself. Only what damages the whole file (UTF-16, a read error) raises `ManifestError`.
"""

import json
from collections.abc import Iterator
from io import BufferedIOBase
from itertools import chain
from typing import Any

from pipeline.errors import ManifestError

__all__ = ["BadRow", "Lines", "decoded", "jsonl_rows", "txt_rows"]

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Room for an inline image of 24 MB as base64; a csv reader needs about eight times as much while it parses."""
MAX_DEPTH = 64
"""Nested lists and objects in one JSON row."""
MAX_MARKS = {b",": 3_000_000, b"[": 500_000, b"{": 500_000}
"""At most so many of these in one line: parsed values need up to 100 times the memory of their text."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class BadRow:
    """A row that cannot be read: the line it starts on, its bytes, and the reason."""

    __slots__ = ("line", "raw", "reason")

    def __init__(self, line: int, raw: bytes, reason: str) -> None:
        self.line, self.raw, self.reason = line, raw, reason


class Lines:
    """The lines of a stream with their numbers from 1; one iteration, no way back.

    Attributes:
        name: what messages call the stream.
        consumed: bytes read so far.
        ended: whether the last line has been read.

    Raises:
        ManifestError: the stream is UTF-16, or cannot be read further.
    """

    def __init__(self, stream: BufferedIOBase, name: str) -> None:
        self._stream = stream
        self.name = name
        self.consumed = 0
        self.ended = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        try:
            while line := self._stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                self.consumed += len(line)
                yield number, self._without_mark(line) if number == 1 else line
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    self._skip_rest()
            self.ended = True
        except OSError as error:
            raise ManifestError(f"{self.name}:{number + 1}: cannot be read: {error.strerror}") from error

    def _without_mark(self, line: bytes) -> bytes:
        if line.startswith(_UTF16) or b"\0" in line[:2]:
            raise ManifestError(f"{self.name}:1: UTF-16; allowed is UTF-8: save or convert the manifest as UTF-8")
        return line.removeprefix(b"\xef\xbb\xbf")

    def _skip_rest(self) -> None:
        while (more := self._stream.readline(1 << 20)) and not more.endswith(b"\n"):
            pass


def decoded(line: bytes) -> tuple[str, str | None]:
    """The text of a line, and why it cannot be used, or `None`; the text keeps its quotes where it can."""
    if len(line) > MAX_LINE_BYTES:
        return "", f"longer than {MAX_LINE_BYTES} bytes"
    for mark, most in MAX_MARKS.items():
        if len(line) > most and line.count(mark) > most:
            return "", f'more than {most} times "{mark.decode()}"'
    try:
        text, fault = line.decode(), None
    except UnicodeDecodeError as error:
        text, fault = line.decode(errors="replace"), f"not UTF-8 at byte {error.start + 1} of the line"
    if "\0" in text:
        return text.replace("\0", ""), fault or "holds a NUL character"
    return text, fault


def jsonl_rows(lines: Lines) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Objects of a jsonl file, each with its line; blank lines are passed over."""
    for number, line in lines:
        if line.isspace():
            continue
        text, fault = decoded(line)
        value: Any = None
        if fault is None:
            value, fault = _parsed(text)
        yield number, (value if fault is None else BadRow(number, line, fault))


def txt_rows(lines: Lines) -> Iterator[tuple[int, str | BadRow]]:
    """Image references, one a line; blank lines are passed over."""
    for number, line in lines:
        if line.isspace():
            continue
        text, fault = decoded(line)
        yield number, (text.rstrip("\r\n") if fault is None else BadRow(number, line, fault))


def _parsed(text: str) -> tuple[Any, str | None]:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        return None, f"not valid JSON: {error}"
    except RecursionError:
        return None, f"nested deeper than {MAX_DEPTH} levels"
    if not isinstance(value, dict):
        kind = "null" if value is None else type(value).__name__
        return None, f"a JSON {kind}; allowed: an object"
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        return None, f"nested deeper than {MAX_DEPTH} levels"
    return value, None


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level)
        level = [each for each in inner if isinstance(each, list | dict)]
        if not level:
            return False
    return True


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
