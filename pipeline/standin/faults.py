"""Misfortunes on demand: one small class each, and the words that script them.

A fault is written `NAME:key=value,key=value`, such as `429:first=3,retry_after=2` or `reset_mid_body:at=5`. Which
requests it strikes: `first=N` (the first N), `at=N` (the Nth alone), `every=N`, `after=N` (all later than the Nth),
`until=N` (none later), `match=TEXT` (bodies that hold the text). Requests count from 1 and are those to
`POST /v1/messages`. Faults before the work are not billed; those after it are: the service did the work.
"""

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.standin.problems import Problem

__all__ = ["Delivery", "Fault", "NAMES", "parse_fault"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the answer of a request that was worked on reaches the client.

    Attributes:
        body: what is sent instead of the message, `None` for the message itself.
        content_type: of the answer.
        cut_at: the part of the body after which the connection ends, 0 to 1; `None` for the whole.
        reset: whether it ends with a TCP reset rather than an orderly close.
        delay_s: before the first byte.
        drip_s: between single bytes, for ever; `None` for no dripping.
        silent: nothing is ever sent.
        change: fields of the message that are replaced; `None` as a value removes one.
    """

    body: bytes | None = None
    content_type: str = "application/json"
    cut_at: float | None = None
    reset: bool = False
    delay_s: float = 0.0
    drip_s: float | None = None
    silent: bool = False
    change: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A misfortune with its selector and its arguments."""

    name: str
    kind: "type[Misfortune]"
    selector: dict[str, int | str]
    arguments: dict[str, str]

    def strikes(self, number: int, body: bytes) -> bool:
        """Whether it strikes the request of this number."""
        tests = {
            "first": lambda value: number <= value,
            "at": lambda value: number == value,
            "every": lambda value: number % value == 0,
            "after": lambda value: number > value,
            "until": lambda value: number <= value,
        }
        for key, value in self.selector.items():
            if key == "match":
                if str(value).encode() not in body:
                    return False
            elif not tests[key](int(value)):
                return False
        return True


class Misfortune:
    """Base: does nothing. `refuse` acts before the work (unbilled), `deliver` after it (billed)."""

    name: ClassVar[str]

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Problem | Delivery | None:
        """An answer instead of the work."""
        del arguments

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery | None:
        """What becomes of the answer."""
        del arguments


class _Status(Misfortune):
    """An error status, with `retry_after=`, `should_retry=` and `code=` where given."""

    status: ClassVar[int]

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Problem:
        headers = {"x-should-retry": arguments.get("should_retry", "true" if cls.status in (429, 529) else "")}
        if "retry_after" in arguments:
            headers["retry-after"] = arguments["retry_after"]
        details = {"error_code": arguments["code"]} if "code" in arguments else None
        return Problem(
            cls.status, f"scripted {cls.status}", details, {key: text for key, text in headers.items() if text}
        )


def _status_class(code: int) -> type[_Status]:
    return type(f"Status{code}", (_Status,), {"name": str(code), "status": code, "__doc__": f"HTTP status {code}."})


_STATUSES = [_status_class(code) for code in (400, 401, 402, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504, 529)]


class SpendStop(Misfortune):
    """A 429 that no wait mends: the account's spending limit, without `retry-after`."""

    name = "spend_stop"

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Problem:
        """The refusal."""
        del arguments
        return Problem(429, "scripted spend limit", {"error_code": "enforced_spend_limit_reached"})


class EdgeTooLarge(Misfortune):
    """The edge's own 413, without `type` and `request_id`."""

    name = "edge_413"

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Delivery:
        """The refusal."""
        del arguments
        body = {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
        return Delivery(json.dumps(body).encode(), change={"status": 413})


class Reset(Misfortune):
    """The connection is reset before any byte of an answer; the work was not done."""

    name = "reset"

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Delivery:
        """The reset."""
        del arguments
        return Delivery(cut_at=0.0, reset=True)


class ResetMidBody(Misfortune):
    """The connection is reset in the middle of the answer's body."""

    name = "reset_mid_body"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The cut."""
        del arguments
        return Delivery(cut_at=0.5, reset=True)


class Truncated(Misfortune):
    """The body ends before its announced length."""

    name = "truncated"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The cut."""
        del arguments
        return Delivery(cut_at=0.5)


class BlackHole(Misfortune):
    """The request is taken and never answered."""

    name = "black_hole"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The silence."""
        del arguments
        return Delivery(silent=True)


class Slow(Misfortune):
    """The first byte comes after `seconds=`."""

    name = "slow"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The delay."""
        return Delivery(delay_s=float(arguments.get("seconds", "1")))


class Drip(Misfortune):
    """The body comes a byte at a time, `seconds=` apart."""

    name = "drip"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The drip."""
        return Delivery(drip_s=float(arguments.get("seconds", "0.2")))


class Html(Misfortune):
    """A proxy's HTML page with status 200."""

    name = "html"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The page."""
        del arguments
        return Delivery(b"<html><body>Welcome</body></html>", "text/html")


class Empty(Misfortune):
    """An empty body with status 200."""

    name = "empty"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """Nothing."""
        del arguments
        return Delivery(b"")


class Garbled(Misfortune):
    """A whole body that is no JSON."""

    name = "garbled"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The garble."""
        del arguments
        return Delivery(b'{"id": "msg_1", "content": [\x00\xff')


class WrongTypes(Misfortune):
    """JSON with the right names and the wrong types."""

    name = "wrong_types"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The body."""
        del arguments
        return Delivery(change={"content": "text", "usage": 7})


class HugeUsage(Misfortune):
    """Token counts that no bill can hold."""

    name = "huge_usage"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The body."""
        del arguments
        return Delivery(change={"usage": {"input_tokens": 10**30, "output_tokens": -1}})


class NoUsage(Misfortune):
    """A message without usage."""

    name = "no_usage"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The body."""
        del arguments
        return Delivery(change={"usage": None})


class Refusal(Misfortune):
    """A classifier declined: 200, `refusal`, empty content, free."""

    name = "refusal"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The refusal."""
        del arguments
        details = {"type": "refusal", "category": "general_harms", "explanation": "scripted"}
        return Delivery(change={"content": [], "stop_reason": "refusal", "stop_details": details})


class EmptyText(Misfortune):
    """An `end_turn` without any content."""

    name = "empty_text"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The body."""
        del arguments
        return Delivery(change={"content": []})


class UnknownBlock(Misfortune):
    """A content block of a type that nobody knows, before the text; and an unknown stop reason."""

    name = "unknown_block"

    @classmethod
    def deliver(cls, arguments: dict[str, str]) -> Delivery:
        """The body."""
        del arguments
        blocks = [{"type": "hologram", "rays": 3}, {"type": "text", "text": "after a hologram"}]
        return Delivery(change={"content": blocks, "stop_reason": "bored"})


class Redirect(Misfortune):
    """A redirect to another host, `to=`."""

    name = "redirect"

    @classmethod
    def refuse(cls, arguments: dict[str, str]) -> Problem:
        """The redirect."""
        return Problem(307, "moved", None, {"location": arguments.get("to", "http://127.0.0.1:9/v1/messages")})


_KINDS: dict[str, type[Misfortune]] = {
    kind.name: kind
    for kind in (
        *_STATUSES,
        SpendStop,
        EdgeTooLarge,
        Reset,
        ResetMidBody,
        Truncated,
        BlackHole,
        Slow,
        Drip,
        Html,
        Empty,
        Garbled,
        WrongTypes,
        HugeUsage,
        NoUsage,
        Refusal,
        EmptyText,
        UnknownBlock,
        Redirect,
    )
}
NAMES = tuple(_KINDS)
_SELECTORS = ("first", "at", "every", "after", "until", "match")


def parse_fault(text: str) -> Fault:
    """Reads `NAME:key=value,...`.

    Raises:
        ValueError: an unknown name or a selector that is no number.
    """
    name, _, rest = text.partition(":")
    if name not in _KINDS:
        raise ValueError(f'unknown fault "{name}"; allowed: {", ".join(NAMES)}')
    pairs = [part.partition("=") for part in rest.split(",") if part]
    selector: dict[str, int | str] = {}
    for key, _, value in pairs:
        if key == "match":
            selector[key] = value
        elif key in _SELECTORS:
            if not value.isdigit() or int(value) < 1:
                raise ValueError(f'fault "{text}": {key}={value}; allowed: a whole number of at least 1')
            selector[key] = int(value)
    arguments = {key: value for key, _, value in pairs if key not in _SELECTORS}
    return Fault(name, _KINDS[name], selector, arguments)
