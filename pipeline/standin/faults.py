"""Faults: the words that script a misfortune, and which requests it strikes.

A fault is written `NAME:key=value,key=value`, such as `429:first=3,retry_after=2` or `reset_mid_body:at=5`. A part
without `=` belongs to the value before it, so that values can hold commas, as HTTP dates do. Requests count from 1
and are those to `POST /v1/messages`. Which of them it strikes (all given conditions must hold; none: every request):

- `first=N` the first N, `at=N` the Nth alone, `every=N` each Nth, `after=N` all later ones, `until=N` like `first`;
- `during=S` those in the first S seconds since the first request;
- `share=P` this part of them, 0 to 1, by a hash of their number, so that two servers agree;
- `match=TEXT` those whose body holds the text.

Every other key is a setting of the misfortune.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from pipeline.standin import breakages, misfortunes
from pipeline.standin.misfortunes import Misfortune

__all__ = ["NAMES", "Fault", "parse_fault"]

_EXPORTED = [getattr(module, name) for module in (misfortunes, breakages) for name in module.__all__]
_KINDS: dict[str, type[Misfortune]] = {
    kind.name: kind
    for kind in (*misfortunes.STATUSES, *_EXPORTED)
    if isinstance(kind, type) and issubclass(kind, Misfortune) and kind.name
}
NAMES = tuple(_KINDS)
"""Every misfortune that can be scripted."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request as selectors see it."""

    number: int
    body: bytes
    elapsed_s: float


_COUNTS: dict[str, Callable[[_Asking, int], bool]] = {
    "first": lambda asking, value: asking.number <= value,
    "at": lambda asking, value: asking.number == value,
    "every": lambda asking, value: asking.number % value == 0,
    "after": lambda asking, value: asking.number > value,
    "until": lambda asking, value: asking.number <= value,
}
_AMOUNTS: dict[str, Callable[[_Asking, float], bool]] = {
    "during": lambda asking, value: asking.elapsed_s < value,
    "share": lambda asking, value: _draw(asking.number) < value,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A misfortune and the conditions under which it strikes."""

    misfortune: Misfortune
    counts: dict[str, int]
    amounts: dict[str, float]
    match: str = ""

    @property
    def name(self) -> str:
        """The misfortune's name."""
        return self.misfortune.name

    def strikes(self, number: int, body: bytes, elapsed_s: float = 0.0) -> bool:
        """Whether it strikes the request of this number, so many seconds after the first one."""
        asking = _Asking(number, body, elapsed_s)
        return (
            all(_COUNTS[key](asking, value) for key, value in self.counts.items())
            and all(_AMOUNTS[key](asking, amount) for key, amount in self.amounts.items())
            and self.match.encode() in body
        )


def parse_fault(text: str) -> Fault:
    """Reads `NAME:key=value,...`.

    Raises:
        ValueError: an unknown name or key, or a value of the wrong kind.
    """
    name, _, rest = text.partition(":")
    if name not in _KINDS:
        raise ValueError(f'unknown fault "{name}"; allowed: {", ".join(NAMES)}')
    pairs = _pairs(text, rest)
    counts = {key: _count(text, key, pairs.pop(key)) for key in _COUNTS if key in pairs}
    amounts = {key: _amount(text, key, pairs.pop(key)) for key in _AMOUNTS if key in pairs}
    match = pairs.pop("match", "")
    return Fault(_misfortune(text, _KINDS[name], pairs), counts, amounts, match)


def _pairs(text: str, rest: str) -> dict[str, str]:
    parts: list[str] = []
    for part in rest.split(",") if rest else ():
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    pairs = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key in pairs:
            raise ValueError(f'fault "{text}": found "{part}"; allowed: key=value, each key once')
        pairs[key] = value
    return pairs


def _misfortune(text: str, kind: type[Misfortune], pairs: dict[str, str]) -> Misfortune:
    settings = {field.name: field.type for field in fields(kind)}
    unknown = sorted(set(pairs) - set(settings))
    if unknown:
        allowed = ", ".join([*_COUNTS, *_AMOUNTS, "match", *settings])
        raise ValueError(f'fault "{text}": unknown key "{unknown[0]}"; allowed: {allowed}')
    values: dict[str, Any] = {}
    for key, value in pairs.items():
        if settings[key] is str:
            values[key] = value
        else:
            values[key] = _count(text, key, value) if settings[key] is int else _amount(text, key, value)
    return kind(**values)


def _count(text: str, key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise ValueError(f'fault "{text}": found {key}={value}; allowed: a whole number of at least 1')
    return int(value)


def _amount(text: str, key: str, value: str) -> float:
    try:
        amount = float(value)
    except ValueError:
        amount = float("nan")
    if not abs(amount) < float("inf"):
        raise ValueError(f'fault "{text}": found {key}={value}; allowed: a number')
    return amount


def _draw(number: int) -> float:
    return int.from_bytes(sha256(str(number).encode()).digest()[:8], "big") / 2**64
