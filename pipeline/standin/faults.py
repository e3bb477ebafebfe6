"""Faults: the words that script a misfortune, and which requests it strikes.

A fault is written `NAME:key=value,key=value`, such as `429:first=3,retry_after=2` or `reset_mid_body:at=5`. A part
without `=` belongs to the value before it, so that values can hold commas, as HTTP dates do. Requests count from 1
and are those to `POST /v1/messages`, or to the place that stands before the name, such as `create/529:first=2`: of
the Message Batches API `create`, `list`, `get`, `cancel`, `delete` and `results`, each counted by itself, and `item`,
which are the requests within batches, counted over all of them. Which of them it strikes (all given conditions must
hold; none: every request):

- `first=N` the first N, `at=N` the Nth alone, `every=N` each Nth, `after=N` all later ones, `until=N` like `first`;
- `during=S` those in the first S seconds since the first request;
- `share=P` this part of them, 0 to 1, by a hash of their number, so that two servers agree; of messages every share
  holds the smaller ones, elsewhere different faults are drawn independently;
- `match=TEXT` those whose body holds the text (of messages and items alone).

Every other key is a setting of the misfortune.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from pipeline.standin import breakages, misfortunes
from pipeline.standin.batches import misfortunes as of_batches
from pipeline.standin.delivery import Delivery
from pipeline.standin.misfortunes import Misfortune
from pipeline.standin.problems import Problem

__all__ = ["NAMES", "PLACES", "Fault", "parse_fault"]

_EXPORTED = [getattr(module, name) for module in (misfortunes, breakages, of_batches) for name in module.__all__]
_KINDS: dict[str, type[Misfortune]] = {
    kind.name: kind
    for kind in (*misfortunes.STATUSES, *_EXPORTED)
    if isinstance(kind, type) and issubclass(kind, Misfortune) and kind.name
}
NAMES = tuple(_KINDS)
"""Every misfortune that can be scripted."""
PLACES = ("messages", "create", "list", "get", "cancel", "delete", "results", "item")
"""Where one can strike."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request as selectors see it."""

    number: int
    body: bytes
    elapsed_s: float
    salt: str


_COUNTS: dict[str, Callable[[_Asking, int], bool]] = {
    "first": lambda asking, value: asking.number <= value,
    "at": lambda asking, value: asking.number == value,
    "every": lambda asking, value: asking.number % value == 0,
    "after": lambda asking, value: asking.number > value,
    "until": lambda asking, value: asking.number <= value,
}
_AMOUNTS: dict[str, Callable[[_Asking, float], bool]] = {
    "during": lambda asking, value: asking.elapsed_s < value,
    "share": lambda asking, value: _draw(asking.salt, asking.number) < value,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A misfortune and the conditions under which it strikes."""

    misfortune: Misfortune
    counts: dict[str, int]
    amounts: dict[str, float]
    match: str = ""
    place: str = "messages"

    @property
    def name(self) -> str:
        """The misfortune's name, after its place where that is not the usual one."""
        return self.misfortune.name if self.place == "messages" else f"{self.place}/{self.misfortune.name}"

    def strikes(self, number: int, body: bytes, elapsed_s: float = 0.0, place: str = "messages") -> bool:
        """Whether it strikes the request of this number to a place, so many seconds after the first one."""
        asking = _Asking(number, body, elapsed_s, "" if place == "messages" else self.name)
        return (
            place == self.place
            and all(_COUNTS[key](asking, value) for key, value in self.counts.items())
            and all(_AMOUNTS[key](asking, amount) for key, amount in self.amounts.items())
            and self.match.encode() in body
        )


def parse_fault(text: str) -> Fault:
    """Reads `NAME:key=value,...` or `PLACE/NAME:key=value,...`.

    Raises:
        ValueError: an unknown place, name or key, or a value of the wrong kind.
    """
    whole, _, rest = text.partition(":")
    place, slash, name = whole.rpartition("/")
    if slash and place not in PLACES:
        raise ValueError(f'fault "{text}": unknown place "{place}"; allowed: {", ".join(PLACES)}')
    if name not in _KINDS:
        raise ValueError(f'unknown fault "{name}"; allowed: {", ".join(NAMES)}')
    pairs = _pairs(text, rest)
    counts = {key: _count(text, key, pairs.pop(key)) for key in _COUNTS if key in pairs}
    amounts = {key: _amount(text, key, pairs.pop(key)) for key in _AMOUNTS if key in pairs}
    match = pairs.pop("match", "")
    misfortune = _misfortune(text, _KINDS[name], pairs)
    _check_place(text, misfortune, place or "messages")
    return Fault(misfortune, counts, amounts, match, place or "messages")


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


def _check_place(text: str, misfortune: Misfortune, place: str) -> None:
    """Refuses what would do nothing there: a request within a batch has no connection of its own."""
    if misfortune.places and place not in misfortune.places:
        raise ValueError(f'fault "{text}": strikes at {", ".join(misfortune.places)} alone, not at {place}')
    if place == "item" and not misfortune.places and not isinstance(misfortune.refuse(), Problem):
        delivery = misfortune.deliver() or misfortune.refuse()
        if not isinstance(delivery, Delivery) or (delivery.body is None and not delivery.change):
            raise ValueError(f'fault "{text}": does nothing to a request within a batch')


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


def _draw(salt: str, number: int) -> float:
    return int.from_bytes(sha256(f"{salt}{number}".encode()).digest()[:8], "big") / 2**64
