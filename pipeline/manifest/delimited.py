"""Csv and tsv, row by row: fields that span lines, and what a stray quote costs.

A quote that is opened and not closed would swallow every row after it. Here it costs the row that it stands in: the
lines that were read on its account are handed back and read as rows of their own. So a damaged row never hides a good
one; the price is that the inner lines of a damaged field of several lines are named as bad rows too.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import Self

from pipeline.manifest.texts import MAX_LINE_BYTES, BadRow, Lines, decoded

__all__ = ["csv_rows"]

MAX_QUOTED_LINES = 1000
"""A row over more lines than this has lost its closing quote."""


class _Feed:
    """Lines as text for the csv reader, remembering which of them make up the current row."""

    def __init__(self, lines: Lines) -> None:
        self._lines = iter(lines)
        self._returned: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self.drawn: list[tuple[int, bytes]] = []
        self.fault: str | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if len(self.drawn) == MAX_QUOTED_LINES or self._bytes > MAX_LINE_BYTES:
            raise csv.Error(f"not within {MAX_QUOTED_LINES} lines and {MAX_LINE_BYTES} bytes")
        number, line = self._returned.popleft() if self._returned else next(self._lines)
        self.drawn.append((number, line))
        self._bytes += len(line)
        text, fault = decoded(line)
        if fault is not None and self.fault is None:
            self.fault = fault if len(self.drawn) == 1 else f"line {number}: {fault}"
        return text

    def begin(self) -> None:
        """The next line starts a row."""
        self.drawn = []
        self.fault = None
        self._bytes = 0

    def give_up(self, error: csv.Error) -> BadRow:
        """The row's first line as a bad row; the lines after it are handed back."""
        (number, line), *rest = self.drawn
        self._returned.extendleft(reversed(rest))
        if not rest and "unexpected end" not in str(error):
            return BadRow(number, line, self.fault or f"not valid csv: {error}")
        return BadRow(number, line, f"a quoted field is opened here and never closed: {error}")


def csv_rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Rows of a csv or tsv file, the header among them, each with its first line; blank lines are passed over."""
    csv.field_size_limit(MAX_LINE_BYTES)
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad = feed.give_up(error)
            yield bad.line, bad
            continue
        start, line = feed.drawn[0]
        if feed.fault is not None:
            yield start, BadRow(start, b"".join(line for _, line in feed.drawn), feed.fault)
        elif row and (len(row) > 1 or row[0].strip() or b'"' in line):
            yield start, row
