"""Structured outputs: which JSON schemas the service compiles, and a value that fits one.

The rules are those of the service's page on structured outputs (read August 2026). What a grammar cannot hold, such
as lengths and bounds, is refused rather than ignored.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.standin.problems import Problem
from pipeline.standin.shapes import at

__all__ = ["check_schemas", "sample"]

_KEYWORDS = {
    *("$schema", "$ref", "$defs", "definitions", "type", "enum", "const", "anyOf", "allOf", "default"),
    *("properties", "required", "additionalProperties", "items", "minItems", "format", "pattern"),
    *("title", "description"),
}
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_SAMPLES = {
    "date-time": "2026-11-23T00:00:00Z",
    "time": "00:00:00Z",
    "date": "2026-11-23",
    "duration": "P1D",
    "email": "someone@example.org",
    "hostname": "example.org",
    "uri": "https://example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_NO_GRAMMAR = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9bB]|\\k<")
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_SCALAR = (str, int, float, bool, type(None))

Schema = Mapping[str, Any]


def check_schemas(schemas: list[tuple[str, object]]) -> None:
    """Checks the schemas of one request, each with its place.

    Raises:
        Problem: 400: a rule is broken, or all of them together are too complex.
    """
    optional = unions = 0
    for where, schema in schemas:
        for place, part in _walk(schema, where):
            _check(part, place, schema)
            optional += len(set(part.get("properties") or {}) - set(part.get("required") or ()))
            unions += "anyOf" in part or isinstance(part.get("type"), list)
        _follow(schema, schema, where, ())
    if optional > _MOST_OPTIONAL or unions > _MOST_UNIONS:
        raise Problem.invalid(
            f"{schemas[0][0]}: Schema is too complex: {optional} optional and {unions} union-typed properties; "
            f"at most {_MOST_OPTIONAL} and {_MOST_UNIONS} are allowed"
        )


def sample(schema: Schema, text: str, root: Schema | None = None) -> Any:
    """A value that fits a schema, `text` wherever it wants a free string. Patterns are not obeyed."""
    root = schema if root is None else root
    if "$ref" in schema:
        return sample(_target(schema["$ref"], root, "$ref"), text, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return sample(schema["anyOf"][0], text, root)
    if schema.get("allOf"):
        parts = [sample(part, text, root) for part in schema["allOf"]]
        return {key: value for part in parts for key, value in part.items()} if isinstance(parts[0], dict) else parts[0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties, required = schema.get("properties") or {}, schema.get("required") or ()
        names = sorted(properties, key=lambda name: name not in required)
        return {name: sample(properties[name], text, root) for name in names}
    if kind == "array":
        return [sample(schema.get("items") or {"type": "string"}, text, root)]
    plain = {"integer": 1, "number": 0.5, "boolean": True, "null": None}
    return plain[kind] if kind in plain else _SAMPLES.get(str(schema.get("format")), text)


def _walk(schema: object, where: str) -> Iterator[tuple[str, Schema]]:
    """Every schema within a schema, with its place."""
    if not isinstance(schema, dict):
        raise Problem.invalid(f"{where}: Input should be a valid dictionary")
    yield where, schema
    for key in ("properties", "$defs", "definitions"):
        parts = schema.get(key, {})
        if not isinstance(parts, dict):
            raise Problem.invalid(f"{at(where, key)}: Input should be a valid dictionary")
        for name, part in parts.items():
            yield from _walk(part, at(at(where, key), name))
    for key in ("anyOf", "allOf"):
        parts = schema.get(key, [])
        if not isinstance(parts, list):
            raise Problem.invalid(f"{at(where, key)}: Input should be a valid list")
        for index, part in enumerate(parts):
            yield from _walk(part, at(at(where, key), index))
    if "items" in schema:
        yield from _walk(schema["items"], at(where, "items"))


def _check(schema: Schema, where: str, root: object) -> None:
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    wrong = [kind for kind in kinds if kind not in _TYPES]
    if wrong:
        raise Problem.invalid(f"{where}.type: {wrong[0]!r} is not a type")
    unknown = sorted(set(schema) - _KEYWORDS)
    if unknown:
        raise Problem.invalid(f"{where}: For {kinds or 'any'} type, property {unknown[0]!r} is not supported")
    if "object" in kinds and schema.get("additionalProperties") is not False:
        raise Problem.invalid(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    if schema.get("minItems", 0) not in (0, 1):
        raise Problem.invalid(f"{where}.minItems: For 'array' type, only 0 and 1 are supported")
    if "format" in schema and schema["format"] not in _SAMPLES:
        raise Problem.invalid(f"{where}.format: {schema['format']!r} is not supported")
    if _NO_GRAMMAR.search(str(schema.get("pattern", ""))):
        raise Problem.invalid(f"{where}.pattern: lookaround, backreferences and word boundaries are not supported")
    if not all(isinstance(value, _SCALAR) for value in schema.get("enum", ())):
        raise Problem.invalid(f"{where}.enum: only strings, numbers, booleans and null are supported")
    if any("$ref" in part for part in schema.get("allOf", ())):
        raise Problem.invalid(f"{where}.allOf: '$ref' is not supported within 'allOf'")
    if "$ref" in schema:
        _target(schema["$ref"], root, where)


def _follow(schema: Schema | Any, root: Any, where: str, seen: tuple[str, ...]) -> None:
    """Refuses a schema that leads back to itself."""
    for place, part in _walk(
        {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}, where
    ):
        if "$ref" in part:
            if part["$ref"] in seen:
                raise Problem.invalid(f"{place}: recursive schemas are not supported: {part['$ref']}")
            _follow(_target(part["$ref"], root, place), root, place, (*seen, part["$ref"]))


def _target(reference: object, root: Any, where: str) -> Schema:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise Problem.invalid(f"{where}.$ref: only local references are supported: {reference!r}")
    found: Any = root
    for step in reference[2:].split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise Problem.invalid(f"{where}.$ref: {reference} leads nowhere")
    return found
