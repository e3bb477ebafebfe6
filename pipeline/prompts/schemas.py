"""`prompt.schema`: what of it is sent to the service, and the judge of what comes back. No I/O.

The service compiles a schema to a grammar, which holds no lengths, bounds or open objects (its page on structured
outputs, read August 2026). So a schema is taken apart here: what the grammar cannot hold is left out of what is sent,
told to the model in the description instead, and enforced on the answer by the `jsonschema` library, which always
judges by the whole schema. What no answer could be asked for at all is refused before anything is sent.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import Draft202012Validator, validator_for

from pipeline.errors import ConfigError

__all__ = ["AnswerSchema", "SchemaMismatchError"]

_AS_THEY_ARE = ("type", "title", "description", "default", "required")
_SILENT = ("$schema", "$id", "$comment", "$anchor", "examples", "deprecated", "readOnly", "writeOnly")
"""Annotations: they ask nothing of an answer."""
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_NO_GRAMMAR = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9bB]|\\k<")
"""Lookaround, backreferences and word boundaries."""
_SCALAR = (str, int, float, bool, type(None))
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)

Schema = Mapping[str, Any]


class SchemaMismatchError(ValueError):
    """An answer does not fit the schema; the message says where and why in one line."""


class AnswerSchema:
    """A schema, ready to be sent and to judge.

    Args:
        schema: as `prompt.schema` has it.

    Attributes:
        sent: the part of it that the service takes.
        text: the whole of it as JSON text, for the type of the `data` column.

    Raises:
        ConfigError: it is no JSON schema, or asks for what the service cannot be asked.
    """

    def __init__(self, schema: Schema) -> None:
        if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict) or not schema["properties"]:
            raise ConfigError(
                'prompt.schema: allowed: type = "object" with at least one of properties, so that `data` has fields'
            )
        kind = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(dict(schema))
        except SchemaError as error:
            raise ConfigError(f"{_place(list(error.absolute_path))}: no JSON schema: {error.message[:300]}") from None
        self._schema = schema
        self.sent: dict[str, Any] = _sent(schema, [], schema)
        _ensure_finite(schema, schema, ())
        _ensure_simple(self.sent)
        self._validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
        self.text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))

    def read(self, text: str) -> Any:
        """The value that an answer's JSON text stands for, its enumerated words as the schema spells them.

        Raises:
            SchemaMismatchError: it is no JSON, or does not fit.
        """
        fenced = _FENCED.fullmatch(text)  # as servers without structured outputs like to write it
        try:
            value = json.loads(fenced[1] if fenced else text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise SchemaMismatchError(f"no JSON: {_line(str(error))}") from None
        return self.fitted(value)

    def fitted(self, value: Any) -> Any:
        """The value, once it fits; the service may answer enumerated words in other letters, which is mended here.

        Raises:
            SchemaMismatchError: it does not fit.
        """
        if self._validator.is_valid(value):
            return value
        mended = _spelled(value, self._schema, self._schema)
        error = best_match(self._validator.iter_errors(mended))
        if error is not None:
            where = ".".join(str(step) for step in error.absolute_path) or "the answer"
            raise SchemaMismatchError(f"{_line(where)}: {_line(error.message)}")
        return mended


def _sent(schema: Any, path: list[str], root: Schema) -> dict[str, Any]:
    """The part of a schema that the service takes."""
    if not isinstance(schema, Mapping):
        raise ConfigError(f"{_place(path)}: found {json.dumps(schema)}; the service takes tables alone")
    if "$ref" in schema:
        _target(schema["$ref"], root, path)
        inner = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
        return {"$ref": schema["$ref"], **_containers(inner, path, root)}
    sent = {key: schema[key] for key in _AS_THEY_ARE if key in schema} | _containers(schema, path, root)
    kept, untold = _constraints(schema, path)
    sent |= kept
    kinds = schema.get("type") if isinstance(schema.get("type"), list) else [schema.get("type")]
    if "properties" in schema or "object" in (kinds or ()):
        sent.setdefault("type", "object")
        sent["additionalProperties"] = _closed(schema.get("additionalProperties", False), path)
    if untold:
        told = f"({', '.join(f'{key}: {json.dumps(value, ensure_ascii=False)}' for key, value in untold.items())})"
        sent["description"] = f"{schema.get('description', '')} {told}".strip()
    return sent


def _containers(schema: Schema, path: list[str], root: Schema) -> dict[str, Any]:
    """The schemas within a schema. `oneOf` is sent as `anyOf`; that one alone fits is judged here."""
    sent: dict[str, Any] = {}
    for key in ("properties", "$defs", "definitions"):
        if key in schema:
            sent[key] = {name: _sent(part, [*path, key, name], root) for name, part in schema[key].items()}
    for key, name in (("oneOf", "anyOf"), ("anyOf", "anyOf"), ("allOf", "allOf")):
        if key in schema:
            sent[name] = [_sent(part, [*path, key, str(at)], root) for at, part in enumerate(schema[key])]
    if any("$ref" in part for part in sent.get("allOf", ())):
        raise ConfigError(f"{_place([*path, 'allOf'])}: the service takes no $ref within allOf; write it out")
    if "items" in schema:
        sent["items"] = _sent(schema["items"], [*path, "items"], root)
    return sent


def _constraints(schema: Schema, path: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a grammar can hold of the rest, and what it cannot and the model is told in words."""
    sent: dict[str, Any] = {}
    untold: dict[str, Any] = {}
    done = {*_AS_THEY_ARE, *_SILENT, "properties", "$defs", "definitions", "anyOf", "oneOf", "allOf", "items"}
    for key, value in schema.items():
        if key in done or key == "additionalProperties":
            continue
        if key == "$dynamicRef":
            raise ConfigError(f"{_place([*path, key])}: the service takes plain $ref alone")
        if _is_grammatical(key, value):
            sent[key] = value
        elif isinstance(value, (*_SCALAR, list)):
            untold[key] = value
        if key == "minItems" and value > 1:
            sent[key] = 1
    return sent, untold


def _is_grammatical(key: str, value: Any) -> bool:
    if key == "enum":
        return all(isinstance(each, _SCALAR) for each in value)
    if key == "const":
        return isinstance(value, _SCALAR)
    if key == "format":
        return value in _FORMATS
    if key == "pattern":
        return not _NO_GRAMMAR.search(value)
    return key == "minItems" and value in (0, 1)


def _closed(additional: Any, path: list[str]) -> bool:
    """Objects are closed for the service; one that is open by default only gets stricter by that."""
    if isinstance(additional, Mapping) and additional:
        raise ConfigError(
            f"{_place([*path, 'additionalProperties'])}: the service takes closed objects alone; "
            "ask for a list of objects with a key and a value"
        )
    return False


def _ensure_finite(schema: Any, root: Schema, above: tuple[str, ...]) -> None:
    """Refuses a schema that leads back to itself, which no grammar can hold."""
    for part in _walk(schema, with_definitions=False):
        reference = part.get("$ref")
        if reference in above:
            raise ConfigError(f"prompt.schema: {reference} leads back to itself; the service takes no recursion")
        if reference is not None:
            _ensure_finite(_target(reference, root, []), root, (*above, reference))


def _ensure_simple(sent: Schema) -> None:
    optional = unions = 0
    for part in _walk(sent, with_definitions=True):
        optional += len(set(part.get("properties") or ()) - set(part.get("required") or ()))
        unions += "anyOf" in part or isinstance(part.get("type"), list)
    for count, most, word in ((optional, _MOST_OPTIONAL, "optional"), (unions, _MOST_UNIONS, "union-typed")):
        if count > most:
            raise ConfigError(f"prompt.schema: found {count} {word} properties; the service takes at most {most}")


def _walk(schema: Any, *, with_definitions: bool) -> Iterator[Schema]:
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in ("properties", *(("$defs", "definitions") if with_definitions else ())):
        for part in (schema.get(key) or {}).values():
            yield from _walk(part, with_definitions=with_definitions)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key) or ():
            yield from _walk(part, with_definitions=with_definitions)
    yield from _walk(schema.get("items"), with_definitions=with_definitions)


def _target(reference: Any, root: Schema, path: list[str]) -> Schema:
    """What a local reference points to, by JSON pointer (RFC 6901)."""
    node: Any = root if isinstance(reference, str) and reference.startswith("#/") else None
    for step in reference[2:].split("/") if node is not None else ():
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{_place(path)}: found $ref {reference!r}; allowed: one that starts with #/ and leads to a table"
        )
    return node


def _spelled(value: Any, schema: Any, root: Schema) -> Any:
    """The value with the words of `enum` and `const` as the schema spells them, wherever they differ in case alone."""
    if not isinstance(schema, Mapping):
        return value
    if "$ref" in schema:
        value = _spelled(value, _target(schema["$ref"], root, []), root)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key) or ():
            value = _spelled(value, part, root)
    if isinstance(value, str):
        return _word(value, [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())])
    if isinstance(value, dict) and isinstance(schema.get("properties"), Mapping):
        return {name: _spelled(part, schema["properties"].get(name), root) for name, part in value.items()}
    if isinstance(value, list):
        return [_spelled(part, schema.get("items"), root) for part in value]
    return value


def _word(value: str, allowed: list[Any]) -> str:
    alike = [each for each in allowed if isinstance(each, str) and each.casefold() == value.casefold()]
    return value if value in alike or len(alike) != 1 else alike[0]


def _place(path: list[Any]) -> str:
    return ".".join(["prompt.schema", *map(str, path)])


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
