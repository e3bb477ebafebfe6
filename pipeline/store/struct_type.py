"""The Arrow type of the `data` column, derived from the JSON schema of `prompt.schema`. No I/O.

Objects become structs, arrays lists, scalars their Arrow kind; everything is nullable. What has no single Arrow type
(several types at once, an object without named properties, a schema within itself) is kept as JSON text, so that no
answer is lost to a type.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

__all__ = ["fit", "struct_type"]

_SCALARS = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


def struct_type(schema: Mapping[str, Any]) -> pa.DataType:
    """The Arrow type for answers under this schema; a struct where the schema is an object."""
    return _type(schema, schema, frozenset({"#"}))


def fit(value: Any, arrow_type: pa.DataType) -> Any:
    """The value as this Arrow type takes it: what is kept as JSON text is written out.

    Integers given where the type is double are fine as they are; anything that does not fit becomes null.
    """
    if value is None:
        return None
    if pa.types.is_struct(arrow_type):
        if not isinstance(value, Mapping):
            return None
        return {field.name: fit(value.get(field.name), field.type) for field in arrow_type}
    if pa.types.is_list(arrow_type):
        return [fit(element, arrow_type.value_type) for element in value] if isinstance(value, list) else None
    if pa.types.is_string(arrow_type):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _scalar(value, arrow_type)


def _scalar(value: Any, arrow_type: pa.DataType) -> Any:
    if pa.types.is_boolean(arrow_type):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if pa.types.is_floating(arrow_type):
        return float(value) if abs(value) <= sys.float_info.max or isinstance(value, float) else None
    if isinstance(value, float) and not value.is_integer():
        return None
    half = 1 << (arrow_type.bit_width - 1)
    return int(value) if -half <= value < half else None


def _type(schema: Mapping[str, Any], root: Mapping[str, Any], above: frozenset[str]) -> pa.DataType:
    """The type of one node; `above` holds the references that lead to it, so that recursion ends as JSON text."""
    schema, above = _resolved(schema, root, above)
    kinds = [kind for kind in _kinds(schema) if kind != "null"]
    if len(kinds) != 1:
        return pa.string()
    if kinds[0] == "object":
        properties = schema.get("properties")
        if not properties:
            return pa.string()
        return pa.struct([(name, _type(part, root, above)) for name, part in properties.items()])
    if kinds[0] == "array":
        return pa.list_(_type(schema.get("items") or {}, root, above))
    return _SCALARS.get(kinds[0], pa.string())


def _resolved(
    schema: Mapping[str, Any], root: Mapping[str, Any], above: frozenset[str]
) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The schema behind references and behind the `anyOf` that makes a value optional."""
    while True:
        reference = schema.get("$ref")
        options = [part for part in schema.get("anyOf") or () if part.get("type") != "null"]
        if isinstance(reference, str) and reference.startswith("#"):
            if reference in above:
                return {}, above
            above |= {reference}
            schema = _pointed(root, reference)
        elif len(options) == 1:
            schema = options[0]
        else:
            return schema, above


def _pointed(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """What a reference within the schema points to, by JSON pointer (RFC 6901); nothing where that is no schema."""
    node: Any = root
    for step in reference[1:].split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if isinstance(kind, list):
        return [str(one) for one in kind]
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    names = {_kind_of(value) for value in values}
    return sorted(names) if names else (["object"] if "properties" in schema else [])


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"
