"""Which Arrow types a manifest's column keeps on its way to the dataset, and what the others become.

A type is kept where one row can be taken from its column, written as an IPC message, and stored in Parquet (pyarrow 26,
tried type by type). Encodings are not types: a dictionary or run-end encoded column becomes a column of its values, a
view its plain twin. What Parquet cannot hold (unions, intervals, structs without fields) becomes JSON text.
"""

import json

import pyarrow as pa

from pipeline.errors import ManifestError

__all__ = ["storable", "stored_type"]

MAX_DEPTH = 40
"""Nested types: a reader of Parquet takes 100 levels (pyarrow 26), where a list is two, and an IPC message holds 64."""


def stored_type(given: pa.DataType) -> pa.DataType | None:
    """The type in the dataset, equal to `given` where it is kept; `None` for JSON text."""
    return _stored(given, MAX_DEPTH)


def storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with every column in its stored type, without metadata.

    Raises:
        ManifestError: a struct has two fields of one name.
    """
    columns, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        wanted = stored_type(field.type)
        columns.append(column if wanted == field.type else _rebuilt(field.name, column, wanted))
        fields.append(field if wanted == field.type else pa.field(field.name, columns[-1].type))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _stored(given: pa.DataType, depth: int) -> pa.DataType | None:
    kinds = pa.types
    if depth == 0 or kinds.is_union(given) or kinds.is_interval(given):
        return None
    if kinds.is_dictionary(given) or kinds.is_run_end_encoded(given):
        return _stored(given.value_type, depth)
    if kinds.is_string_view(given):
        return pa.string()
    if kinds.is_binary_view(given):
        return pa.binary()
    if isinstance(given, pa.BaseExtensionType):
        return given if _stored(given.storage_type, depth) == given.storage_type else None
    return _stored_nested(given, depth - 1) if kinds.is_nested(given) else given


def _stored_nested(given: pa.DataType, depth: int) -> pa.DataType | None:
    kinds = pa.types
    inner = [given.field(index) for index in range(given.num_fields)]
    stored = [_stored(field.type, depth) for field in inner]
    if None in stored or not stored or (kinds.is_fixed_size_list(given) and given.list_size == 0):
        return None
    if kinds.is_struct(given) and len({field.name for field in inner}) < len(inner):
        return None
    if all(after == field.type for after, field in zip(stored, inner, strict=True)) and not _is_list_view(given):
        return given
    fields = [field.with_type(after) for after, field in zip(stored, inner, strict=True)]
    if kinds.is_struct(given):
        return pa.struct(fields)
    if kinds.is_fixed_size_list(given):
        return pa.list_(fields[0], given.list_size)
    if kinds.is_large_list(given) or kinds.is_large_list_view(given):
        return pa.large_list(fields[0])
    if kinds.is_list(given) or kinds.is_list_view(given):
        return pa.list_(fields[0])
    return None


def _is_list_view(given: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(given) or pa.types.is_large_list_view(given))


def _rebuilt(name: str, column: pa.Array, wanted: pa.DataType | None) -> pa.Array:
    """By way of Python values: `cast` of pyarrow 26 lacks some of these, and makes invalid lists of list views."""
    if pa.types.is_dictionary(column.type) and column.type.value_type == wanted:
        return column.dictionary_decode()
    try:
        values = column.to_pylist()
    except ValueError as error:
        raise ManifestError(f'column "{name}" of type {column.type}: {error}') from error
    if wanted is not None:
        return pa.array(values, wanted)
    return pa.array([None if value is None else json.dumps(value, default=str) for value in values], pa.string())
