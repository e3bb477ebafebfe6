"""The manifest's other columns, carried unread from one row to the dataset in their own Arrow types."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["ArrowExtras", "infer_extras"]


class ArrowExtras:
    """One row of a record batch; serialised only when it is asked for."""

    __slots__ = ("_batch", "_row")

    def __init__(self, batch: pa.RecordBatch, row: int) -> None:
        self._batch = batch
        self._row = row

    def schema_ipc(self) -> bytes:
        """The serialized schema, without the file's metadata."""
        return bytes(self._batch.schema.remove_metadata().serialize())

    def row_ipc(self) -> bytes:
        """The row as a record batch of length 1; its size is the row's, not the batch's."""
        row = self._batch.take([self._row]) if self._batch.num_rows > 1 else self._batch
        return bytes(row.replace_schema_metadata(None).serialize())


def infer_extras(rows: Sequence[Mapping[str, Any]], names: Sequence[str], known: pa.Schema | None) -> pa.RecordBatch:
    """The columns of JSON rows as Arrow, of the types known from earlier rows where these fit.

    A column whose values have no common type becomes their JSON text, so that no value is lost to a type.
    """
    arrays, fields = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        array = _typed(values, known.field(name).type if known is not None and name in known.names else None)
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _typed(values: list[Any], known: pa.DataType | None) -> pa.Array:
    for wanted in (known, None):
        if wanted is None or not pa.types.is_null(wanted):
            try:
                array = pa.array(values, wanted)
            except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
                continue
            if wanted is not None or not _loses(values, array.type):
                return array
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array([text and text.encode("utf-8", "backslashreplace").decode() for text in texts], pa.string())


def _loses(values: list[Any], inferred: pa.DataType) -> bool:
    """Whether inference mixed booleans or texts with numbers."""
    kinds = {type(value) for value in values if value is not None}
    return pa.types.is_null(inferred) is False and len(kinds) > 1 and kinds != {int, float}
