"""What is wrong with a configuration, in words: the key, what was found, what is allowed, and where it came from.

Values that may be secrets are never quoted.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError
from pipeline.settings import Config, Endpoint, Example
from pipeline.urls import masked_url

__all__ = ["MASK", "explained", "found"]

MASK = "***"
"""What stands for a value that may be a secret."""
_LONGEST = 120
_ALLOWED = {
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "string_too_long": "a text of at most {max_length} characters",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
}


def explained(error: ValidationError, path: str | Path, origins: Mapping[tuple[str, ...], str]) -> ConfigError:
    """The error to raise: every problem on a line of its own.

    Args:
        error: what validation found.
        path: the configuration file.
        origins: for keys that were not given in the file, where their value came from.
    """
    lines = list(dict.fromkeys(_line(part, origins) for part in error.errors(include_url=False)))
    if len(lines) == 1:
        return ConfigError(f"{path}: {lines[0]}")
    return ConfigError("\n  ".join([f"{path}: {len(lines)} problems", *lines]))


def found(value: object) -> str:
    """A value as messages show it: quoted, on one line, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _line(part: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]) -> str:
    loc = tuple(step for step in part["loc"] if step != "[key]")
    key = ".".join(map(str, loc))
    if part["type"] == "missing":
        return f"{key}: required, and not given"
    if part["type"] == "extra_forbidden":
        return f"{key}: unknown {_origin(loc, origins, 'section' if len(loc) == 1 else 'key')}; {_choice(loc)}"
    message = str(part["msg"]).removeprefix("Value error, ")
    if part["type"] == "value_error" and not message.startswith(("allowed", "found")):
        return message  # a rule between keys, which names them itself
    if not message.startswith(("allowed", "found")):
        message = f"allowed: {_allowed(part)}"
    if message.startswith("found"):
        message = message.partition("; ")[2]
    return f"{key}: found {_origin(loc, origins, _shown(loc, part.get('input')))}; {message}"


def _allowed(part: Mapping[str, Any]) -> str:
    context = part.get("ctx", {})
    if part["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    if part["type"] in _ALLOWED:
        return _ALLOWED[part["type"]].format(**context)
    return str(part["msg"]).removeprefix("Input should be ")


def _shown(loc: Sequence[Any], value: object) -> str:
    if "headers" in loc or loc[-1] == "api_key_env":
        return MASK
    if loc[-1] == "base_url" and isinstance(value, str):
        return found(masked_url(value))
    return found(value)


def _origin(loc: tuple[Any, ...], origins: Mapping[tuple[str, ...], str], text: str) -> str:
    """The text, followed by where the value came from if that was not the file."""
    names = tuple(map(str, loc))
    places = [origin for path, origin in origins.items() if path[: len(names)] == names or names[: len(path)] == path]
    return f"{text} ({places[-1]})" if places else text


def _choice(loc: tuple[Any, ...]) -> str:
    """What an unknown key may have meant, and every key that stands there."""
    name, allowed = str(loc[-1]), sorted(_keys_at(loc[:-1]))
    close = difflib.get_close_matches(name.lower(), allowed, n=1)
    if not close and len(loc) == 2:
        close = [f"{section}.{name}" for section in Config.model_fields if name in _keys_at((section,))]
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for step in loc:
        if step in ("endpoints", "examples"):
            model = Endpoint if step == "endpoints" else Example
            continue
        field = model.model_fields.get(step) if isinstance(step, str) else None
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
        elif field is not None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]
