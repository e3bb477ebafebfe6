"""Columns of different parts brought to one Arrow type. No I/O.

The `manifest` and `data` columns take their types from a run's manifest and schema, so two parts of one dataset may
differ. Struct fields are joined by name, null where a part has none; numbers, times and lists are widened as Arrow
does; what has no common type (a text in one part, a number in the other) becomes its JSON text, texts staying as they
are, so that no value is lost to a type.
"""

import json
from collections.abc import Sequence

import pyarrow as pa

__all__ = ["in_common"]


def in_common(arrays: Sequence[pa.Array]) -> list[pa.Array]:
    """The arrays, in order and of unchanged lengths, cast to one type that holds all their values."""
    types = list(dict.fromkeys(array.type for array in arrays if not pa.types.is_null(array.type)))
    if len(types) > 1 and all(pa.types.is_struct(one) for one in types):
        return _structs(arrays, types)
    try:
        schemas = [pa.schema([("value", one)]) for one in types or [pa.null()]]
        common = pa.unify_schemas(schemas, promote_options="permissive").field("value").type
        return [array.cast(common) for array in arrays]
    except pa.ArrowException:
        return [_json_texts(array) for array in arrays]


def _structs(arrays: Sequence[pa.Array], types: Sequence[pa.StructType]) -> list[pa.Array]:
    names = list(dict.fromkeys(field.name for one in types for field in one))
    columns = [in_common([_child(array, name) for array in arrays]) for name in names]
    fields = [pa.field(name, column[0].type) for name, column in zip(names, columns, strict=True)]
    return [
        pa.StructArray.from_arrays(list(children), fields=fields, mask=array.is_null())
        for array, *children in zip(arrays, *columns, strict=True)
    ]


def _child(array: pa.Array, name: str) -> pa.Array:
    """One field of a struct array; nulls where it has none, or where the struct itself is null."""
    if pa.types.is_null(array.type) or array.type.get_field_index(name) < 0:
        return pa.nulls(len(array))
    return array.flatten()[array.type.get_field_index(name)]


def _json_texts(array: pa.Array) -> pa.Array:
    texts = [value if value is None or isinstance(value, str) else _text(value) for value in array.to_pylist()]
    return pa.array(texts, pa.string())


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
