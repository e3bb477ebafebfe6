"""Committed parts read back: one part, one table's batches, one table whole.

A part is checked as it is read (page checksums, structure, the contract's columns), and taken whole or not at all.
"""

import logging
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts, opened_part
from pipeline.store.schema import OPTIONAL_COLUMNS, Kind, part_schema
from pipeline.store.unify import in_common

__all__ = ["checked_batch", "joined", "read_batches", "read_part", "read_table"]

logger = logging.getLogger(__name__)
_ROWS = 16_384


def read_table(output: Place, kind: Kind, fingerprint: str | None) -> pa.Table:
    """Every row of one table, or those of one fingerprint."""
    tables = []
    for path in list_parts(output, kind):
        batches = [batch for batch in read_part(path, kind, None, fingerprint) if len(batch)]
        if batches:
            tables.append(pa.Table.from_batches(batches))
    return joined(tables, kind)


def joined(tables: list[pa.Table], kind: Kind) -> pa.Table:
    """The tables as one: the contract's columns, and of the optional ones those that any of them has."""
    found = {name for table in tables for name in table.column_names}
    optional = {name: _column(tables, name) for name in OPTIONAL_COLUMNS if name in found}
    types = {name: column.type for name, column in optional.items()}
    schema = part_schema(kind, manifest=types.get("manifest"), data=types.get("data"), thumbnail="thumbnail" in types)
    columns = [
        optional[one.name]
        if one.name in optional
        else pa.chunked_array([chunk for table in tables for chunk in table[one.name].chunks], one.type)
        for one in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(tables: list[pa.Table], name: str) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for table in tables:
        chunks += table[name].chunks if name in table.column_names else [pa.nulls(len(table))]
    unified = in_common(chunks)
    return pa.chunked_array(unified, unified[0].type)


def read_batches(output: Place, kind: Kind, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of one table, cut to these columns, a part in memory at a time."""
    for path in list_parts(output, kind):
        yield from read_part(path, kind, columns)


def read_part(
    path: Place, kind: Kind, columns: list[str] | None, fingerprint: str | None = None
) -> list[pa.RecordBatch]:
    """A part's rows, in the contract's types; none, and a warning, where it is damaged or foreign."""
    try:
        batches = _whole(path, kind, columns)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        logger.warning("%s: left out, it cannot be read: %s", path, f"{error}".partition("\n")[0])
        return []
    if fingerprint is None:
        return batches
    return [batch.filter(pc.equal(batch["fingerprint"], fingerprint)) for batch in batches]


def _whole(path: Place, kind: Kind, columns: list[str] | None) -> list[pa.RecordBatch]:
    """A part's rows.

    Raises:
        OSError: it is gone, not a regular file, or its pages are damaged.
        pa.ArrowException: it is no Parquet file, or not of this table.
    """
    if not path.is_file():
        raise OSError("it is gone, or not a regular file")
    with opened_part(path) as part:
        names = part.schema_arrow.names
        needed = part_schema(kind).names if columns is None else columns
        if lacking := [name for name in needed if name not in names]:
            raise pa.ArrowInvalid(f"it has no column {lacking[0]}")
        taken = needed if columns else [*needed, *(name for name in OPTIONAL_COLUMNS if name in names)]
        batches = [checked_batch(batch, kind) for batch in part.iter_batches(_ROWS, columns=taken)]
        if sum(map(len, batches)) != part.metadata.num_rows:
            raise pa.ArrowInvalid("its pages have other rows than it says")
    return batches


def checked_batch(batch: pa.RecordBatch, kind: Kind) -> pa.RecordBatch:
    """The rows in the contract's types.

    Raises:
        pa.ArrowException: they are damaged, or of other types.
    """
    batch.validate(full=True)
    contract = part_schema(kind)
    wanted = [contract.field(one.name) if one.name in contract.names else one for one in batch.schema]
    return batch.cast(pa.schema(wanted))
