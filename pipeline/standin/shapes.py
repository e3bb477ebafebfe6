"""Whether a JSON object has the fields that the API takes: none missing, none unknown, each of its type."""

from collections.abc import Mapping
from typing import Any

from pipeline.standin.problems import Problem

__all__ = ["Kinds", "at", "check_choice", "check_fields"]

Kinds = type | tuple[type, ...]
_WORDS = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "list",
    dict: "dictionary",
    type(None): "null",
}


def at(where: str, name: str | int) -> str:
    """The place of a field; the body itself has an empty place."""
    return f"{where}.{name}" if where else str(name)


def check_fields(
    value: object, where: str, required: Mapping[str, Kinds], optional: Mapping[str, Kinds]
) -> Mapping[str, Any]:
    """The object, once every field of it is known and of its type.

    Raises:
        Problem: 400 that names the field.
    """
    if not isinstance(value, dict):
        raise Problem.invalid(f"{where}: Input should be a valid dictionary")
    for name in required:
        if name not in value:
            raise Problem.invalid(f"{at(where, name)}: Field required")
    known = {**required, **optional}
    for name, part in value.items():
        if name not in known:
            raise Problem.invalid(f"{at(where, name)}: Extra inputs are not permitted")
        kinds = _as_tuple(known[name])
        if not _is(part, kinds):
            words = " or ".join(_WORDS[kind] for kind in kinds)
            raise Problem.invalid(f"{at(where, name)}: Input should be a valid {words}")
    return value


def check_choice(value: object, where: str, allowed: tuple[object, ...]) -> None:
    """Refuses what is not one of `allowed`.

    Raises:
        Problem: 400 that names the field and what it may be.
    """
    if value not in allowed:
        raise Problem.invalid(f"{where}: Input should be {', '.join(map(repr, allowed))}")


def _as_tuple(kinds: Kinds) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # a bool is an int to Python, not to JSON
        return bool in kinds
    return isinstance(value, kinds)
