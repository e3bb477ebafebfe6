"""The types of configuration values that TOML has no type for: each checks one value and says what is allowed.

A message begins with `allowed:`; who reports it puts the key and what was found before it. Where a check is a
function, the type also states as JSON schema what the function allows: editors and the reference read that.
"""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from pipeline.durations import parse_duration
from pipeline.images.geometry import PATCH_PX
from pipeline.urls import service_url

__all__ = [
    "Concurrency",
    "Duration",
    "EdgeOrModel",
    "Failures",
    "HeaderValue",
    "Headers",
    "JsonSchema",
    "JsonTable",
    "Name",
    "Rate",
    "ServiceUrl",
    "Texts",
    "TokensOrModel",
    "TurnImages",
    "VariableName",
]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


def _rate(value: object) -> int | float | str:
    if isinstance(value, str) and value in ("auto", "off"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return value
    raise ValueError('allowed: a number above 0, "auto" or "off"')


def _whole_or(word: str, value: object, least: int = 1) -> int | str:
    if isinstance(value, str) and value == word:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(f'allowed: a whole number of at least {least}, or "{word}"')


def _concurrency(value: object) -> int | str:
    return _whole_or("auto", value)


def _edge(value: object) -> int | str:
    return _whole_or("model", value, PATCH_PX)


def _visual_tokens(value: object) -> int | str:
    return _whole_or("model", value)


def _failures(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        share = _SHARE.fullmatch(value)
        if share is not None and float(share[1]) <= 100:
            return value
    raise ValueError('allowed: a whole number of at least 0, or a share such as "1%"')


def _texts(value: object) -> str | list[str]:
    if isinstance(value, str):
        if value.strip():
            return value
    elif isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value):
        return value
    raise ValueError("allowed: a text, or a list of texts, one a turn; none of them empty")


def _turn_images(value: object) -> list[str | list[str]]:
    def entry(part: object) -> bool:
        return isinstance(part, str) or (isinstance(part, list) and all(isinstance(name, str) for name in part))

    if isinstance(value, list) and value and all(entry(part) for part in value):
        return value
    raise ValueError('allowed: a list with one entry a turn: a column name, a list of them, or "" for none')


def _json_table(value: dict[str, Any]) -> dict[str, Any]:
    # TOML has dates, infinities and NaN; a request's JSON has none of them.
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("allowed: a table of texts, finite numbers, booleans, lists and tables") from None
    return value


def _schema(value: object) -> dict[str, Any] | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict):
        return _json_table(value)
    raise ValueError("allowed: a JSON schema as an inline table, or the path of a JSON file")


def _duration(value: str) -> str:
    parse_duration(value)
    return value


def _variable_name(value: str) -> str:
    if _VARIABLE.fullmatch(value):
        return value
    raise ValueError("allowed: the name of an environment variable, never the key itself")


def _header_value(value: str) -> str:
    if _HEADER_VALUE.fullmatch(value):
        return value
    raise ValueError("allowed: printable ASCII characters on one line, as a header carries them")


def _header_name(value: str) -> str:
    if _HEADER_NAME.fullmatch(value):
        return value
    raise ValueError("allowed: a header's name, such as anthropic-beta")


def _whole_schema(least: int, word: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": least}, {"const": word}]})


def _pattern(expression: str, *examples: str) -> WithJsonSchema:
    """A text that matches as a whole, with texts that do."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{expression})$", "examples": list(examples)})


_PART = r"\d+(?:\.\d+)?"
_UNITS = r"\s*".join(rf"(?:{_PART}\s*[{unit}])?" for unit in ("dD", "hH", "mM", "sS"))
_DURATION = rf"(?=.*[1-9])(?:{_PART}|{_UNITS})"
_URL = r"embedded|https?://[^\s?#\\]+"
_TEXT = {"type": "string", "pattern": r"\S"}
_COLUMNS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_A_SCHEMA = {"anyOf": [{"type": "object"}, {"type": "string", "minLength": 1}]}
_A_RATE = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"enum": ["auto", "off"]}]}
_PERCENT = r"(?:0*(?:\d{1,2}(?:\.\d+)?|100(?:\.0+)?))\s*%"
_A_SHARE = {"type": "string", "pattern": f"^{_PERCENT}$", "examples": ["1%"]}
_SOME_FAILURES = {"anyOf": [{"type": "integer", "minimum": 0}, _A_SHARE]}
_SOME_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}

Rate = Annotated[int | float | str, PlainValidator(_rate), WithJsonSchema(_A_RATE)]
Concurrency = Annotated[int | str, PlainValidator(_concurrency), _whole_schema(1, "auto")]
Failures = Annotated[int | str, PlainValidator(_failures), WithJsonSchema(_SOME_FAILURES)]
EdgeOrModel = Annotated[int | str, PlainValidator(_edge), _whole_schema(PATCH_PX, "model")]
TokensOrModel = Annotated[int | str, PlainValidator(_visual_tokens), _whole_schema(1, "model")]
Texts = Annotated[str | list[str], PlainValidator(_texts), WithJsonSchema(_SOME_TEXTS)]
TurnImages = Annotated[
    list[str | list[str]],
    PlainValidator(_turn_images),
    WithJsonSchema({"type": "array", "items": _COLUMNS, "minItems": 1}),
]
JsonSchema = Annotated[dict[str, Any] | str, PlainValidator(_schema), WithJsonSchema(_A_SCHEMA)]
JsonTable = Annotated[dict[str, Any], AfterValidator(_json_table)]
Duration = Annotated[str, AfterValidator(_duration), _pattern(_DURATION, "90s", "1h30m", "20h")]
Name = Annotated[str, Field(min_length=1)]
ServiceUrl = Annotated[str, AfterValidator(service_url), _pattern(_URL, "http://127.0.0.1:8000")]
VariableName = Annotated[str, AfterValidator(_variable_name), _pattern(_VARIABLE.pattern, "ANTHROPIC_API_KEY")]
HeaderValue = Annotated[str, AfterValidator(_header_value), _pattern(_HEADER_VALUE.pattern, "2023-06-01")]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header_name)], HeaderValue],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_HEADER_NAME.pattern}$"},
            "additionalProperties": {"type": "string", "pattern": f"^(?:{_HEADER_VALUE.pattern})$"},
        }
    ),
]
