"""The manifest's other columns, carried unread from one row to the dataset in their own Arrow types."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.manifest.storable import storable, stored_type

__all__ = ["ArrowExtras", "infer_extras", "text_extras"]


class ArrowExtras:
    """One row of a record batch whose types can be stored; serialised only when it is asked for."""

    __slots__ = ("_batch", "_row")

    def __init__(self, batch: pa.RecordBatch, row: int) -> None:
        self._batch = batch
        self._row = row

    @classmethod
    def of(cls, batch: pa.RecordBatch, names: Sequence[str]) -> list["ArrowExtras | None"]:
        """The extras of each row: these columns; `None` for all where there are none."""
        if not names:
            return [None] * batch.num_rows
        table = storable(batch.select(names))
        return [cls(table, row) for row in range(batch.num_rows)]

    def schema_ipc(self) -> bytes:
        """The serialized schema, without the file's metadata."""
        return bytes(self._batch.schema.serialize())

    def row_ipc(self) -> bytes:
        """The row as a record batch of length 1; its size is the row's, not the batch's."""
        return bytes(self._batch.take([self._row]).serialize())


def text_extras(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> pa.RecordBatch:
    """The columns of csv rows: all text."""
    arrays = [pa.array([row[name] for row in rows], pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def infer_extras(rows: Sequence[Mapping[str, Any]], names: Sequence[str], known: pa.Schema | None) -> pa.RecordBatch:
    """The columns of JSON rows as Arrow, in types that go on from those of earlier rows.

    A type only ever widens: null to anything, integers to doubles, structs to more fields. A column that has no common
    type, within these rows or with earlier ones, is JSON text from there on, so that no value is lost to a type.
    """
    arrays, fields = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        array = _typed(values, known.field(name).type if known is not None and name in known.names else pa.null())
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _typed(values: list[Any], known: pa.DataType) -> pa.Array:
    try:
        array = pa.array(values)
        if array.type != known:
            array = pa.array(values, _wider(known, array.type))
    except (pa.ArrowException, OverflowError, UnicodeError):
        return _texts(values)
    return array if stored_type(array.type) == array.type and not _mixes_booleans(values) else _texts(values)


def _wider(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("", known)]), pa.schema([("", found)])]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _mixes_booleans(values: list[Any]) -> bool:
    """Arrow takes `true` for 1.0 among floats."""
    kinds = {type(value) for value in values}
    return bool in kinds and float in kinds


def _texts(values: list[Any]) -> pa.Array:
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array([text and text.encode("utf-8", "backslashreplace").decode() for text in texts], pa.string())
