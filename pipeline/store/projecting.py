"""A table read in part: some of its columns, some of its rows, and no more of the files than that takes.

The projection and the filter go down into the Parquet scan: columns that nobody asked for are not read, and row groups
whose statistics rule the filter out are passed over. A part that cannot be scanned so (it is damaged, or a column has
another type in it) is read whole by `tables.read_part`, which names what is damaged and leaves it out.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts
from pipeline.store.schema import OPTIONAL_COLUMNS, TIMESTAMP, Kind, part_schema
from pipeline.store.tables import read_part
from pipeline.store.unify import in_common

__all__ = ["Part", "narrowed", "read_chosen"]

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
_LOCAL = fs.LocalFileSystem()
_TROUBLE = (OSError, pa.ArrowException, UnicodeDecodeError)


class Part:
    """One committed part, its footer read once.

    Attributes:
        schema: as the part has it; `None` where its footer cannot be read.
    """

    def __init__(self, path: Place, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self.schema: pa.Schema | None = None
        try:
            if path.is_file():
                source = (os.fspath(path), _LOCAL) if isinstance(path, Path) else (path.open("rb"), None)
                self._fragment = _FORMAT.make_fragment(*source)
                self.schema = self._fragment.physical_schema
        except _TROUBLE:
            self.schema = None  # who reads it whole says what is wrong

    def may_hold(self, fingerprint: str) -> bool:
        """Whether rows of a fingerprint may be in it, as far as the footer's statistics tell."""
        try:
            bounds = [group.statistics["fingerprint"] for group in self._fragment.row_groups]
            return any(each["min"] <= fingerprint <= each["max"] for each in bounds)
        except (*_TROUBLE, AttributeError, KeyError, TypeError):
            return True

    def newest(self) -> float:
        """The most that `created_at` can be by the footer's statistics, in microseconds; infinite without them."""
        try:
            found = [group.statistics["created_at"]["max"] for group in self._fragment.row_groups]
            return float(max(pa.scalar(value, TIMESTAMP).value for value in found))
        except (*_TROUBLE, AttributeError, KeyError, TypeError, ValueError):
            return float("inf")

    def scan(self, schema: pa.Schema, columns: Sequence[str], wanted: pc.Expression | None) -> pa.Table:
        """These columns of the rows that are wanted, in the types of `schema`."""
        if self.schema is not None and _fits(self.schema, schema, part_schema(self.kind)):
            try:
                scanner = self._fragment.scanner(schema=schema, columns=list(columns), filter=wanted)
                table = scanner.to_table()
                table.validate(full=True)
                return table
            except _TROUBLE:
                pass  # the slow way shows whether the part or the scan is at fault
        batches = read_part(self.path, self.kind, None)
        tables = [_in_types(batch, schema) for batch in batches]
        return narrowed(pa.concat_tables([schema.empty_table(), *tables]), columns, wanted)


def read_chosen(
    output: Place,
    kind: Kind,
    fingerprint: str | None,
    columns: Sequence[str] | None = None,
    wanted: pc.Expression | None = None,
) -> pa.Table:
    """Some columns and rows of one table, in the order of its parts.

    Raises:
        TypeError: `columns` is no list, or the filter no expression.
        ValueError: there is no such column, or the filter does not fit the table.
    """
    _check_types(columns, wanted)
    parts = [Part(path, kind) for path in list_parts(output, kind)]
    if fingerprint is not None:
        parts = [part for part in parts if part.may_hold(fingerprint)]
    schema = _schema(parts, kind)
    taken = list(schema.names if columns is None else columns)
    empty = narrowed(schema.empty_table(), taken, wanted)
    mine = wanted
    if fingerprint is not None:
        mine = pc.field("fingerprint") == fingerprint
        mine = mine if wanted is None else mine & wanted
    return pa.concat_tables([empty, *(part.scan(schema, taken, mine) for part in parts)])


def narrowed(table: pa.Table, columns: Sequence[str] | None, wanted: pc.Expression | None) -> pa.Table:
    """Some columns and rows of a table in memory; the filter may name columns that are not taken.

    Raises:
        TypeError: `columns` is no list, or the filter no expression.
        ValueError: there is no such column, or the filter does not fit the table.
    """
    _check_types(columns, wanted)
    if columns is not None and not columns:
        raise ValueError("columns: found an empty list; allowed: at least one name")
    for name in columns or ():
        if name not in table.column_names:
            raise ValueError(f'columns: no "{name}" in this dataset; there are: {", ".join(table.column_names)}')
    try:
        rows = table if wanted is None else table.filter(wanted)
    except pa.ArrowException as error:
        raise ValueError(f"filter: {str(error).partition(chr(10))[0]}") from error
    return rows if columns is None else rows.select(list(columns))


def _check_types(columns: object, wanted: object) -> None:
    if isinstance(columns, str):
        raise TypeError(f'columns: found "{columns}"; allowed: a list of names')
    if wanted is not None and not isinstance(wanted, pc.Expression):
        found = type(wanted).__name__
        raise TypeError(f'filter: found {found}; allowed: an expression, as pyarrow.compute.field("cost_usd") > 0')


def _schema(parts: Sequence[Part], kind: Kind) -> pa.Schema:
    """The contract's columns, and of the optional ones those that any part has, in a type that holds them all."""
    types: dict[str, pa.DataType] = {}
    for name in OPTIONAL_COLUMNS:
        found = [part.schema.field(name).type for part in parts if part.schema and name in part.schema.names]
        if found:
            types[name] = in_common([pa.array([], one) for one in dict.fromkeys(found)])[0].type
    return part_schema(kind, manifest=types.get("manifest"), data=types.get("data"), thumbnail="thumbnail" in types)


def _fits(part: pa.Schema, schema: pa.Schema, contract: pa.Schema) -> bool:
    """Whether a scan gives the part's columns in these types: widened, never as texts of what is none."""
    optional = [field for field in schema if field.name not in contract.names and field.name in part.names]
    return set(contract.names) <= set(part.names) and all(
        _widens(part.field(field.name).type, field.type) for field in optional
    )


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return all(_widens(field.type, new.field(field.name).type) for field in old)
    try:
        both = [pa.schema([("value", one)]) for one in (old, new)]
        return bool(pa.unify_schemas(both, promote_options="permissive").field("value").type == new)
    except pa.ArrowException:
        return False


def _in_types(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The rows with the columns of `schema`, nulls where there are none."""
    columns = []
    for field in schema:
        column = batch[field.name] if field.name in batch.schema.names else pa.nulls(len(batch))
        columns.append(in_common([column, pa.array([], field.type)])[0])
    return pa.Table.from_arrays(columns, schema=schema)
