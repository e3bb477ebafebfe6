"""Manifests of text and lists of files, as batches of items: csv, tsv, jsonl, txt, folders and globs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import ManifestError
from pipeline.manifest.delimited import csv_rows
from pipeline.manifest.extras import ArrowExtras, infer_extras, text_extras
from pipeline.manifest.glance import LazyItems, rows_of
from pipeline.manifest.opened import MAX_COLUMNS, Layout, Opened, grouped
from pipeline.manifest.rows import RowReader, broken_row
from pipeline.manifest.texts import BadRow, Lines, jsonl_rows, txt_rows
from pipeline.records import Item

__all__ = ["open_csv", "open_jsonl", "open_references", "txt_references"]

_CsvRow = tuple[int, list[str] | BadRow]
_JsonRow = tuple[int, dict[str, Any] | BadRow]


def open_csv(lines: Lines, layout: Layout, delimiter: str) -> Opened:
    """A csv or tsv file; its first line names the columns, white space around the names does not count.

    Raises:
        ManifestError: there is no header, it cannot be read, or it lacks a column.
    """
    rows = csv_rows(lines, delimiter)
    number, header = next(rows, (1, []))
    if isinstance(header, BadRow):
        raise ManifestError(f"{layout.name}:{number}: the header cannot be read: {header.reason}")
    if not header:
        raise ManifestError(f"{layout.name}: the manifest is empty; its first line must name the columns")
    columns = tuple(name.strip() or f"column_{index}" for index, name in enumerate(header, 1))
    reader = layout.reader(columns, layout.settings.list_separator)
    groups = grouped(rows, lambda: lines.consumed)
    return Opened(columns, (_csv_batch(group, columns, layout, reader) for group in groups))


def open_jsonl(lines: Lines, layout: Layout) -> Opened:
    """A jsonl file; its columns are those of its first rows, and later ones may bring more.

    Raises:
        ManifestError: none of the first rows has the image column.
    """
    groups = grouped(jsonl_rows(lines), lambda: lines.consumed)
    first = next(groups, [])
    names: dict[str, None] = {}
    first = [(line, _within(line, row, names)) for line, row in first]
    columns = tuple(names)
    reader = layout.reader(columns or layout.settings.image_columns)
    return Opened(columns, _jsonl_batches(first, groups, layout, reader), complete=lines.ended and bool(columns))


def open_references(rows: Iterator[tuple[str, str | BadRow]], layout: Layout) -> Opened:
    """Image references alone, each with its place."""
    column = layout.settings.image_columns[0] if layout.settings.image_columns else "image"
    reader = layout.reader((column,))
    batches = (
        [
            broken_row(place, row.raw, row.reason)
            if isinstance(row, BadRow)
            else reader.item({column: row}, None, place)
            for place, row in group
        ]
        for group in grouped(rows)
    )
    return Opened((column,), batches)


def txt_references(lines: Lines) -> Iterator[tuple[str, str | BadRow]]:
    """The references of a txt file with their places."""
    return ((f"{lines.name}:{number}", row) for number, row in txt_rows(lines))


def _csv_batch(group: list[_CsvRow], columns: tuple[str, ...], layout: Layout, reader: RowReader) -> Sequence[Item]:
    def made() -> list[Item]:
        return _csv_items(group, columns, layout, reader)

    plain = layout.plain_columns(columns)
    if plain is None:
        return made()
    id_at, image_at = map(columns.index, plain)
    cells = [row if isinstance(row, list) and len(row) == len(columns) else None for _, row in group]
    rows = rows_of(
        (row and row[id_at] for row in cells), (row and row[image_at] for row in cells), layout.settings.list_separator
    )
    return LazyItems(rows, made, lambda at: f"{layout.name}:{group[at][0]}")


def _csv_items(group: list[_CsvRow], columns: tuple[str, ...], layout: Layout, reader: RowReader) -> list[Item]:
    rows = [_whole(line, row, columns) for line, row in group]
    whole = [row for row in rows if not isinstance(row, BadRow)]
    names = layout.extras(columns)
    table = text_extras(whole, names) if names else None
    return _items([(line, row) for (line, _), row in zip(group, rows, strict=True)], table, layout, reader)


def _whole(line: int, row: list[str] | BadRow, columns: tuple[str, ...]) -> dict[str, str] | BadRow:
    if isinstance(row, BadRow):
        return row
    if len(row) != len(columns):
        return BadRow(line, "\0".join(row).encode(), f"{len(row)} fields, the header has {len(columns)}")
    return dict(zip(columns, row, strict=True))


def _jsonl_batches(
    first: list[_JsonRow], groups: Iterator[list[_JsonRow]], layout: Layout, reader: RowReader
) -> Iterator[list[Item]]:
    known: pa.Schema | None = None
    columns: dict[str, None] = {}  # in the order in which they come
    group: list[_JsonRow] | None = first
    while group:
        rows = [(line, _within(line, row, columns)) for line, row in group]
        objects = [row for _, row in rows if isinstance(row, dict)]
        names = layout.extras(tuple(columns))
        table = infer_extras(objects, names, known) if names and objects else None
        known = known if table is None else table.schema
        yield _items(rows, table, layout, reader)
        group = next(groups, None)


def _within(line: int, row: dict[str, Any] | BadRow, columns: dict[str, None]) -> dict[str, Any] | BadRow:
    """The row, its new names added to the columns; a bad row where they cannot be, so that columns stay bounded."""
    if isinstance(row, BadRow):
        return row
    new = row.keys() - columns.keys()
    if new:
        fault = _unfit(new, len(columns))
        if fault is not None:
            return BadRow(line, json.dumps(row).encode(), fault)
        columns.update(dict.fromkeys(name for name in row if name in new))
    return row


def _unfit(names: set[str], before: int) -> str | None:
    if before + len(names) > MAX_COLUMNS:
        return f"brings the manifest to more than {MAX_COLUMNS} different columns"
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return "a name holds half a surrogate pair, which no file can hold"
    return None


def _items(
    rows: Sequence[tuple[int, Mapping[str, Any] | BadRow]],
    table: pa.RecordBatch | None,
    layout: Layout,
    reader: RowReader,
) -> list[Item]:
    items, whole = [], 0
    for line, row in rows:
        place = f"{layout.name}:{line}"
        if isinstance(row, BadRow):
            items.append(broken_row(place, row.raw, row.reason))
            continue
        items.append(reader.item(row, None if table is None else ArrowExtras(table, whole), place))
        whole += 1
    return items
