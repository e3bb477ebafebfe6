"""The misfortunes of answers: error statuses, foreign bodies, odd messages. One small class each, settings as fields.

Those that `refuse` strike before the work and are not billed; those that `deliver` strike after it and are: the
service did the work, whatever became of its answer.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar

from pipeline.standin.delivery import Delivery
from pipeline.standin.problems import Problem

__all__ = [
    "STATUSES",
    "EdgeTooLarge",
    "Empty",
    "EmptyText",
    "Garbled",
    "Html",
    "HugeUsage",
    "Misfortune",
    "Nested",
    "NoUsage",
    "Redirect",
    "Refusal",
    "SpendStop",
    "ThinkingOnly",
    "UnknownBlock",
    "WrongTypes",
]

_STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)


@dataclass(frozen=True)
class Misfortune:
    """Base: does nothing."""

    name: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()
    """Where alone it means something; empty for everywhere."""

    def refuse(self) -> Problem | Delivery | None:
        """An answer instead of the work."""
        return None

    def deliver(self) -> Delivery | None:
        """What becomes of the answer."""
        return None


@dataclass(frozen=True)
class Status(Misfortune):
    """An error status in the API's shape.

    `retry_after` is sent as it is written, whatever that is; `retry_after_date` is an HTTP date so many seconds from
    now. `should_retry` is the value of `x-should-retry`, `code` the error's `error_code`.
    """

    status: ClassVar[int] = 500
    retry_after: str = ""
    retry_after_date: float | None = None
    should_retry: str = ""
    code: str = ""
    message: str = ""

    def refuse(self) -> Problem:
        """The refusal."""
        headers = {"x-should-retry": self.should_retry or ("true" if self.status in (429, 529) else "")}
        headers["retry-after"] = self.retry_after
        if self.retry_after_date is not None:
            moment = datetime.now(UTC) + timedelta(seconds=self.retry_after_date)
            headers["retry-after"] = format_datetime(moment, usegmt=True)
        details = {"error_code": self.code} if self.code else None
        sent = {key: text for key, text in headers.items() if text}
        return Problem(self.status, self.message or f"scripted {self.status}", details, sent)


def _status_class(code: int) -> type[Status]:
    return type(f"Status{code}", (Status,), {"name": str(code), "status": code, "__doc__": f"HTTP status {code}."})


STATUSES = tuple(_status_class(code) for code in _STATUSES)
"""One misfortune for each status, named by its number."""


class SpendStop(Misfortune):
    """A 429 that no wait mends: the account's spending limit, without `retry-after`."""

    name = "spend_stop"

    def refuse(self) -> Problem:
        """The refusal."""
        return Problem(429, "scripted spend limit", {"error_code": "enforced_spend_limit_reached"})


class EdgeTooLarge(Misfortune):
    """The edge's own 413, without `type` and `request_id`."""

    name = "edge_413"

    def refuse(self) -> Problem:
        """The refusal."""
        return Problem.at_the_edge()


@dataclass(frozen=True)
class Redirect(Misfortune):
    """A redirect to another host."""

    name = "redirect"
    to: str = "http://127.0.0.1:9/v1/messages"

    def refuse(self) -> Problem:
        """The redirect."""
        return Problem(307, "moved", None, {"location": self.to})


@dataclass(frozen=True)
class _Foreign(Misfortune):
    """A body that no Messages API sends. With a status other than 200 the work was not done."""

    body: ClassVar[bytes] = b""
    content_type: ClassVar[str] = "application/json"
    status: int = 200

    def _answer(self) -> Delivery:
        return Delivery(self.body, self.content_type, self.status)

    def refuse(self) -> Delivery | None:
        """An error page."""
        return None if self.status == 200 else self._answer()

    def deliver(self) -> Delivery | None:
        """A page in place of the message."""
        return self._answer() if self.status == 200 else None


class Html(_Foreign):
    """A proxy's HTML page."""

    name = "html"
    body = b"<html><body>Welcome</body></html>"
    content_type = "text/html"


class Empty(_Foreign):
    """A body of no bytes."""

    name = "empty"


class Garbled(_Foreign):
    """A whole body that is no JSON and no text."""

    name = "garbled"
    body = b'{"id": "msg_1", "content": [\x00\xff'


class Nested(_Foreign):
    """JSON too deep for any reader."""

    name = "nested"
    body = b"[" * 100_000


class _Changed(Misfortune):
    """A message with some of its fields replaced."""

    change: ClassVar[dict[str, Any]] = {}

    def deliver(self) -> Delivery:
        """The message."""
        return Delivery(change=self.change)


class WrongTypes(_Changed):
    """JSON with the right names and the wrong types."""

    name = "wrong_types"
    change: ClassVar[dict[str, Any]] = {"content": "text", "usage": 7}


class HugeUsage(_Changed):
    """Token counts that no bill can hold."""

    name = "huge_usage"
    change: ClassVar[dict[str, Any]] = {"usage": {"input_tokens": 10**30, "output_tokens": -1}}


class NoUsage(_Changed):
    """A message without usage."""

    name = "no_usage"
    change: ClassVar[dict[str, Any]] = {"usage": None}


class EmptyText(_Changed):
    """An `end_turn` without any content."""

    name = "empty_text"
    change: ClassVar[dict[str, Any]] = {"content": []}


class ThinkingOnly(_Changed):
    """The cap was reached while thinking: there is no text."""

    name = "thinking_only"
    change: ClassVar[dict[str, Any]] = {
        "content": [{"type": "thinking", "thinking": "", "signature": "c3RhbmQtaW4="}],
        "stop_reason": "max_tokens",
    }


class UnknownBlock(_Changed):
    """A content block of a type that nobody knows, before the text; and an unknown stop reason."""

    name = "unknown_block"
    change: ClassVar[dict[str, Any]] = {
        "content": [{"type": "hologram", "rays": 3}, {"type": "text", "text": "after a hologram"}],
        "stop_reason": "bored",
    }


@dataclass(frozen=True)
class Refusal(Misfortune):
    """A classifier declined: empty content and free, or, with `text`, in the middle of an answer and billed."""

    name = "refusal"
    text: str = ""

    def deliver(self) -> Delivery:
        """The refusal."""
        content = [{"type": "text", "text": self.text, "citations": None}] if self.text else []
        details = {"type": "refusal", "category": "general_harms", "explanation": "scripted"}
        return Delivery(change={"content": content, "stop_reason": "refusal", "stop_details": details})
