"""The manifest opened: which format it is, which columns it has, and its items in batches.

Memory is bounded by a batch, whatever the manifest's length. Nothing here looks at an image.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader, BytesIO
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ManifestError
from pipeline.manifest.extras import ArrowExtras, infer_extras
from pipeline.manifest.rows import RowReader, RowSettings, broken_row
from pipeline.manifest.scan import IMAGE_SUFFIXES, glob_root, is_glob, scan_folder, scan_glob
from pipeline.manifest.texts import BadRow, Lines, csv_rows, jsonl_rows, txt_rows
from pipeline.records import Item

__all__ = ["Manifest", "ManifestSettings", "open_manifest"]

BATCH_ROWS = 1000
_Row = TypeVar("_Row")
_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "txt",
}
_REMOTE = ("s3://", "gs://", "az://", "http://", "https://")


@dataclass(frozen=True, slots=True)
class ManifestSettings:
    """What is opened, and which columns mean what.

    Attributes:
        path: a file, a directory, a glob, or `-`.
        format: `auto` goes by the suffix.
        id_column: names an item.
        image_columns: hold the images, in order; empty for text alone.
        list_separator: between several images in one csv or tsv field.
    """

    path: str
    format: str = "auto"
    id_column: str = "id"
    image_columns: tuple[str, ...] = ("image",)
    list_separator: str = "|"


class Manifest:
    """An open manifest; a context manager. Made by `open_manifest`.

    Attributes:
        columns: the names of its columns.
        root: where relative image paths start by default.
    """

    def __init__(self, settings: ManifestSettings, kind: str, stack: ExitStack, stdin: BufferedIOBase | None) -> None:
        self._settings = settings
        self._stack = stack
        self._stdin = stdin
        self._name = "standard input" if settings.path == "-" else Path(settings.path).name or settings.path
        self._rows = 0
        self.columns: tuple[str, ...] = ("image",)
        self.root = _root(settings.path, kind)
        self._batches = {
            "csv": self._csv,
            "tsv": self._csv,
            "jsonl": self._jsonl,
            "txt": self._references,
            "directory": self._references,
            "glob": self._references,
            "parquet": self._arrow,
            "arrow": self._arrow,
        }[kind](kind)
        self._first = next(self._batches, None)

    def __enter__(self) -> Self:
        """Nothing to do: `open_manifest` has opened it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self._batches.close()
        self._stack.close()

    def batches(self) -> Iterator[list[Item]]:
        """The items, in order, at most `BATCH_ROWS` at a time.

        Raises:
            ManifestError: the file is damaged as a whole, or has no rows.
        """
        for batch in chain([] if self._first is None else [self._first], self._batches):
            self._rows += len(batch)
            yield batch
        self._first = None
        if not self._rows:
            raise ManifestError(f"{self._settings.path}: the manifest has no rows{self._nothing_found}")

    _nothing_found = ""

    def _reader(self, columns: tuple[str, ...], separator: str | None = None) -> RowReader:
        self.columns = columns
        if len(set(columns)) != len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise ManifestError(f'{self._name}: column "{twice}" stands twice')
        for name in self._settings.image_columns:
            if name not in columns:
                raise ManifestError(
                    f'{self._name}: no column "{name}" for the images; there are: {", ".join(columns) or "none"}; '
                    "name another with manifest.image_column"
                )
        return RowReader(RowSettings(self._settings.id_column, self._settings.image_columns, separator), columns)

    def _is_extra(self, name: str) -> bool:
        return name != self._settings.id_column and name not in self._settings.image_columns

    def _stream(self) -> BufferedIOBase:
        if self._settings.path == "-":
            return self._stdin or sys.stdin.buffer  # type: ignore[return-value]
        try:
            return self._stack.enter_context(Path(self._settings.path).open("rb"))
        except OSError as error:
            raise ManifestError(f"{self._settings.path}: cannot be read: {error.strerror}") from error

    def _csv(self, kind: str) -> Iterator[list[Item]]:
        lines = Lines(self._stream(), self._name)
        rows = csv_rows(lines, "," if kind == "csv" else "\t")
        _, header = next(rows, (1, []))
        if isinstance(header, BadRow):
            raise ManifestError(f"{self._name}:{header.line}: the header cannot be read: {header.reason}")
        if not header:
            raise ManifestError(f"{self._settings.path}: the manifest is empty; its first line must name the columns")
        reader = self._reader(tuple(header), self._settings.list_separator)
        extras = [name for name in header if self._is_extra(name)]
        for group in _grouped(rows):
            yield self._csv_batch(group, header, extras, reader)

    def _csv_batch(
        self, group: list[tuple[int, list[str] | BadRow]], header: list[str], extras: list[str], reader: RowReader
    ) -> list[Item]:
        whole = [dict(zip(header, row, strict=True)) for _, row in group if _has_width(row, len(header))]
        table = _strings(whole, extras) if extras else None
        items, place_in = [], iter(range(len(whole)))
        for line, row in group:
            place = f"{self._name}:{line}"
            if isinstance(row, BadRow):
                items.append(broken_row(place, row.raw, row.reason))
            elif len(row) != len(header):
                reason = f"{len(row)} fields, the header has {len(header)}"
                items.append(broken_row(place, "\0".join(row).encode(), reason))
            else:
                index = next(place_in)
                items.append(reader.item(whole[index], ArrowExtras(table, index) if table is not None else None, place))
        return items

    def _jsonl(self, kind: str) -> Iterator[list[Item]]:
        del kind
        rows = jsonl_rows(Lines(self._stream(), self._name))
        reader: RowReader | None = None
        known: pa.Schema | None = None
        for group in _grouped(rows):
            objects = [row for _, row in group if not isinstance(row, BadRow)]
            names = list(dict.fromkeys(name for row in objects for name in row))
            if reader is None:
                reader = self._reader(tuple(names) if names else (*self._settings.image_columns,))
            names = [name for name in names if self._is_extra(name)]
            if known is not None:
                names = [*known.names, *(name for name in names if name not in known.names)]
            table = infer_extras(objects, names, known) if names and objects else None
            known = table.schema if table is not None else known
            yield list(self._jsonl_items(group, table, reader))

    def _jsonl_items(
        self, group: list[tuple[int, dict[str, Any] | BadRow]], table: pa.RecordBatch | None, reader: RowReader
    ) -> Iterator[Item]:
        index = 0
        for line, row in group:
            place = f"{self._name}:{line}"
            if isinstance(row, BadRow):
                yield broken_row(place, row.raw, row.reason)
                continue
            yield reader.item(row, ArrowExtras(table, index) if table is not None else None, place)
            index += 1

    def _references(self, kind: str) -> Iterator[list[Item]]:
        column = self._settings.image_columns[0] if self._settings.image_columns else "image"
        reader = self._reader((column,))
        rows: Iterator[tuple[int, str | BadRow]]
        if kind == "txt":
            rows = txt_rows(Lines(self._stream(), self._name))
        else:
            found = scan_folder(Path(self._settings.path)) if kind == "directory" else scan_glob(self._settings.path)
            rows = enumerate(found, 1)
            self._nothing_found = f": it holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))})"
        for group in _grouped(rows):
            yield [
                broken_row(f"{self._name}:{line}", row.raw, row.reason)
                if isinstance(row, BadRow)
                else reader.item({column: row}, None, f"{self._name}:{line}" if kind == "txt" else row)
                for line, row in group
            ]

    def _arrow(self, kind: str) -> Iterator[list[Item]]:
        number = 0
        reader: RowReader | None = None
        try:
            schema, batches = self._open_parquet() if kind == "parquet" else self._open_arrow()
            reader = self._reader(tuple(schema.names))
            extras = [name for name in schema.names if self._is_extra(name)]
            for batch in batches:
                table = batch.select(extras) if extras else None
                items = []
                for index, row in enumerate(batch.to_pylist()):
                    number += 1
                    carried = ArrowExtras(table, index) if table is not None else None
                    items.append(reader.item(row, carried, f"{self._name} row {number}"))
                if items:
                    yield items
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ManifestError(f"{self._settings.path}: cannot be read after row {number}: {reason}") from error

    def _open_parquet(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        source = self._stream()
        if self._settings.path == "-":
            source = BytesIO(source.read())
        part = self._stack.enter_context(pq.ParquetFile(source))
        return part.schema_arrow, part.iter_batches(BATCH_ROWS)

    def _open_arrow(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        source = self._stream()
        if self._settings.path == "-":
            source = BytesIO(source.read())
        head = source.peek(6)[:6] if isinstance(source, BufferedReader) else source.read(6)
        source.seek(0)
        if head == b"ARROW1":
            file = self._stack.enter_context(pa.ipc.open_file(source))
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
            return file.schema, _sliced(batches)
        stream = self._stack.enter_context(pa.ipc.open_stream(source))
        return stream.schema, _sliced(iter(stream))


def open_manifest(settings: ManifestSettings, stdin: BufferedIOBase | None = None) -> Manifest:
    """The manifest, its head read and its columns checked.

    Args:
        settings: what is opened.
        stdin: what `-` reads, by default the standard input.

    Raises:
        ManifestError: it is missing, unreadable, of an unknown format, empty, or lacks a column.
    """
    path = settings.path
    if path.startswith(_REMOTE):
        raise ManifestError(f"{path}: manifests are read from local files; copy it here first")
    kind = settings.format if settings.format != "auto" else _format(path)
    if path != "-" and kind != "glob" and not Path(path).exists():
        raise ManifestError(f"{path}: no such manifest (working directory: {Path.cwd()})")
    if kind == "directory" and not Path(path).is_dir():
        raise ManifestError(f'{path}: not a directory, and manifest.format = "directory"')
    if kind not in ("directory", "glob") and path != "-" and Path(path).is_dir():
        raise ManifestError(f'{path}: a directory, and manifest.format = "{kind}"')
    with ExitStack() as stack:
        manifest = Manifest(settings, kind, stack, stdin)
        stack.pop_all()
    return manifest


def _format(path: str) -> str:
    if path == "-":
        return "jsonl"
    if Path(path).is_dir():
        return "directory"
    if is_glob(path):
        return "glob"
    found = _FORMATS.get(Path(path).suffix.lower())
    if found is None:
        allowed = ", ".join(sorted(_FORMATS))
        raise ManifestError(f"{path}: the suffix tells no format; allowed: {allowed}, or set manifest.format")
    return found


def _root(path: str, kind: str) -> Path:
    if path == "-":
        return Path.cwd()
    if kind == "directory":
        return Path(path).absolute()
    return glob_root(path).absolute() if kind == "glob" else Path(path).absolute().parent


def _grouped(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    group: list[_Row] = []
    for row in rows:
        group.append(row)
        if len(group) == BATCH_ROWS:
            yield group
            group = []
    if group:
        yield group


def _has_width(row: list[str] | BadRow, width: int) -> bool:
    return not isinstance(row, BadRow) and len(row) == width


def _strings(rows: list[dict[str, str]], names: list[str]) -> pa.RecordBatch:
    arrays = [pa.array([row[name] for row in rows], pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)
