"""Parquet and Arrow manifests: columns as batches of items, every other column in its own type.

What stands in such a file is not to be trusted: a column may be damaged inside, or hold a few bytes that stand for
gigabytes. So it is read in pieces of few rows, each piece is validated before it is touched, and a row that is not
valid costs itself alone. Arrow files are read record batch by record batch, in the size in which they were written.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ErrorType, ManifestError, RowError
from pipeline.manifest.extras import ArrowExtras
from pipeline.manifest.glance import LazyItems, Row, rows_of
from pipeline.manifest.opened import BATCH_BYTES, BATCH_ROWS, Layout, Opened
from pipeline.records import Item

__all__ = ["open_arrow", "open_parquet"]

PIECE_ROWS = 64
"""A text of a megabyte can stand in a dictionary once and in every row: this many are unfolded at a time."""
PIECE_BYTES = 8 * 1024 * 1024
_BUFFER_BYTES = 1 << 20
_FILE_MARK = b"ARROW1"
_UNREADABLE = (pa.ArrowException, ValueError, OverflowError, LookupError)


def open_parquet(source: IO[bytes], layout: Layout, stack: ExitStack) -> Opened:
    """A Parquet file that can be sought in.

    Raises:
        ManifestError: it is damaged, or lacks a column.
    """
    try:
        part = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
        stack.enter_context(part)
        schema = part.schema_arrow
    except (*_UNREADABLE, OSError) as error:
        raise _damaged(layout.name, 0, error) from error
    return _opened(schema, _parquet_pieces(part), layout, part.metadata.num_rows)


def open_arrow(source: IO[bytes], layout: Layout, stack: ExitStack) -> Opened:
    """An Arrow file, which can be sought in, or an Arrow stream, as its first bytes tell.

    Raises:
        ManifestError: it is damaged, or lacks a column.
    """
    try:
        head = source.read(len(_FILE_MARK))
        source.seek(0)
        if head == _FILE_MARK:
            file = stack.enter_context(pa.ipc.open_file(source))
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
            return _opened(file.schema, batches, layout)
        stream = stack.enter_context(pa.ipc.open_stream(source))
        return _opened(stream.schema, iter(stream), layout)
    except (*_UNREADABLE, OSError) as error:
        raise _damaged(layout.name, 0, error) from error


def _opened(schema: pa.Schema, pieces: Iterator[pa.RecordBatch], layout: Layout, expected: int | None = None) -> Opened:
    rows = _Rows(layout, tuple(schema.names))
    return Opened(rows.columns, rows.batches(_sliced(pieces), expected))


class _Rows:
    """The rows of one file as items."""

    def __init__(self, layout: Layout, columns: tuple[str, ...]) -> None:
        self._name = layout.name
        self._reader = layout.reader(columns)
        self._extras = layout.extras(columns)
        self._plain = layout.plain_columns(columns)
        self._number = 0
        self.columns = columns

    def batches(self, pieces: Iterator[pa.RecordBatch], expected: int | None) -> Iterator[LazyItems]:
        """The rows in lazy batches.

        Raises:
            ManifestError: the file is damaged, or has other than the expected number of rows.
        """
        read = 0
        try:
            for group in _groups(pieces):
                yield self._lazy(group, read)
                read += sum(piece.num_rows for piece in group)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._name, read, error) from error
        if expected is not None and read != expected:
            raise ManifestError(f"{self._name}: damaged: {expected} rows are announced, {read} are there")

    def _lazy(self, group: list[pa.RecordBatch], before: int) -> LazyItems:
        """A batch of pieces, of which `before` rows precede the first."""

        def made() -> list[Item]:
            self._number = before
            return [item for piece in group for item in self._piece(piece)]

        rows = [row for piece in group for row in self._glance(piece)]
        return LazyItems(rows, made, lambda at: f"{self._name} row {before + at + 1}")

    def _glance(self, piece: pa.RecordBatch) -> list[Row]:
        if self._plain is not None:
            try:
                piece.validate(full=True)
                ids, images = (_values(piece[name]) for name in self._plain)
                return rows_of(ids, images, None)
            except _UNREADABLE:
                pass  # the rows tell of it one by one
        return [None] * piece.num_rows

    def _piece(self, piece: pa.RecordBatch) -> Iterator[Item]:
        try:
            piece.validate(full=True)
            rows = list(zip(*map(_values, piece.columns), strict=True))
            extras = ArrowExtras.of(piece, self._extras)
        except _UNREADABLE:
            if piece.num_rows == 1:
                yield self._broken(piece)
            else:
                for row in range(piece.num_rows):
                    yield from self._piece(piece.slice(row, 1))
            return
        for values, carried in zip(rows, extras, strict=True):
            yield self._reader.item(dict(zip(self.columns, values, strict=True)), carried, self._place())

    def _broken(self, row: pa.RecordBatch) -> Item:
        """The item of a row with cells that cannot be read: known by what can be."""
        place = self._place()
        cells: dict[str, Any] = {}
        faults = []
        for name, column in zip(self.columns, row.columns, strict=True):
            try:
                column.validate(full=True)
                cells[name] = _values(column)[0]
            except _UNREADABLE as error:
                faults.append(f'column "{name}" cannot be read: {_reason(error)}')
        problem = RowError(ErrorType.INVALID_REQUEST, f"{place}: {'; '.join(faults)}")
        return replace(self._reader.item(cells, None, place), problem=problem)

    def _place(self) -> str:
        self._number += 1
        return f"{self._name} row {self._number}"


def _parquet_pieces(part: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for index in range(part.num_row_groups):
        group = part.metadata.row_group(index)
        rows = _piece_rows(group.num_rows, group.total_byte_size)
        yield from part.iter_batches(rows, row_groups=[index])


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = _piece_rows(batch.num_rows, batch.nbytes)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _groups(pieces: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Pieces of a batch's rows and bytes together."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for piece in pieces:
        group.append(piece)
        rows, size = rows + piece.num_rows, size + piece.nbytes
        if rows + PIECE_ROWS > BATCH_ROWS or size >= BATCH_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _piece_rows(rows: int, all_bytes: int) -> int:
    """As many rows as are of about `PIECE_BYTES` together."""
    return min(PIECE_ROWS, max(1, PIECE_BYTES * rows // max(1, all_bytes)))


def _values(column: pa.Array) -> list[Any]:
    """The cells as Python values; times to the microsecond, since finer ones need pandas."""
    finer = getattr(column.type, "unit", None) == "ns"
    if finer and pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    elif finer:
        column = column.cast(pa.time64("us") if pa.types.is_time(column.type) else pa.duration("us"), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except _UNREADABLE:
        return _cells(column)
    return values


def _cells(column: pa.Array) -> list[Any]:
    """One by one: times of a zone that is not known here are in UTC, what Python has no value for is its text."""
    zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None
    cells: list[Any] = []
    for scalar in column.cast(pa.timestamp(column.type.unit)) if zoned else column:
        try:
            cell = scalar.as_py()
            cells.append(cell.replace(tzinfo=UTC) if zoned and cell is not None else cell)
        except _UNREADABLE:
            cells.append(_text(scalar))
    return cells


def _text(scalar: pa.Scalar) -> str:
    try:
        return str(scalar.cast(pa.string()).as_py())
    except _UNREADABLE:
        return f"<{scalar.type}>"


def _damaged(name: str, row: int, error: Exception) -> ManifestError:
    return ManifestError(f"{name}: cannot be read after row {row}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
