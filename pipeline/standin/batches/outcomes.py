"""What becomes of one request of a batch: checked, answered and billed as a message of its own, at half the price.

Only now are its `params` looked at: a mistake in them is an errored result, never a refused batch.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.standin.answer import compose
from pipeline.standin.batches.batch import Batch
from pipeline.standin.batches.misfortunes import Unfinished
from pipeline.standin.caching import CacheUse, PromptCache
from pipeline.standin.delivery import Delivery
from pipeline.standin.faults import Fault
from pipeline.standin.lines import message_fields
from pipeline.standin.looking import Looker
from pipeline.standin.problems import Problem
from pipeline.standin.sending import sent_message
from pipeline.standin.striking import Strikes
from pipeline.standin.validate import check_body
from pipeline.standin.vision import Files

__all__ = ["Answerer", "Outcome", "unfinished"]

_DISCOUNT = 2
_AT_ONCE = 8
"""Requests of a batch run side by side: what one writes to the prompt cache, its next few neighbours cannot read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One result.

    Attributes:
        kind: `succeeded`, `errored`, `canceled` or `expired`.
        record: the line of the results, after the request's name and a space.
        said: what the log says of it.
    """

    kind: str
    record: bytes = field(repr=False)
    said: Mapping[str, Any] = field(repr=False)


class Answerer:
    """Answers the requests of batches, one after another.

    Args:
        max_base64: the most characters of one image's base64 text.
        files: the bytes of an uploaded file.
        looker: looks at pictures where that is wanted.
        cache: the server's prompt cache.
        strikes: the server's faults.
    """

    def __init__(self, max_base64: int, files: Files, looker: Looker, cache: PromptCache, strikes: Strikes) -> None:
        self._max_base64 = max_base64
        self._files = files
        self._looker = looker
        self._cache = cache
        self._strikes = strikes
        self._begun: list[CacheUse] = []

    def outcome(self, batch: Batch, at: int) -> Outcome:
        """Works on the request at a position of its batch."""
        raw = batch.items.read(at)
        item = json.loads(raw)
        struck = self._strikes.of("item", batch.first_item + at, raw)
        try:
            return self._answered(batch, item, struck)
        except Problem as problem:
            return _errored(item["custom_id"], problem, struck)
        except Exception as error:  # noqa: BLE001 - a fault of this program must not leave the batch open for ever
            failed = Problem(500, f"the stand-in failed: {type(error).__name__}: {error}")
            return _errored(item["custom_id"], failed, struck)

    def _answered(self, batch: Batch, item: Mapping[str, Any], struck: Fault | None) -> Outcome:
        name, body = item["custom_id"], item["params"]
        if struck is not None and isinstance(struck.misfortune, Unfinished):
            return unfinished(name, struck.misfortune.name, struck.name)
        refused = struck.misfortune.refuse() if struck is not None else None
        if isinstance(refused, Problem):
            raise refused
        _check_for_batches(body)
        asked = check_body(body, batch.asked_with.version, self._max_base64, files=self._files)
        asked = self._looker.looked_now(batch.asked_with.look, asked)
        use = self._used(self._cache.look_up(asked.steps, asked.model.cache_minimum))
        composed = compose(asked, use, f"msg_{secrets.token_hex(12)}", "batch")
        delivery = refused or (struck.misfortune.deliver() if struck is not None else None) or Delivery()
        sent = sent_message(composed, delivery)
        if delivery.body is not None:
            line = delivery.body.replace(b"\n", b" ")
        else:
            line = b'{"custom_id": "%b", "result": {"type": "succeeded", "message": %b}}' % (name.encode(), sent.body)
        said = {
            **message_fields(asked, use, composed),
            **sent.said,
            "cost_usd": composed.bill_nano / _DISCOUNT / 1e9 * sent.billed,
            "fault": struck.name if struck is not None else None,
        }
        return _outcome(name, "succeeded", line, said)

    def _used(self, use: CacheUse) -> CacheUse:
        self._begun.append(use)
        if len(self._begun) >= _AT_ONCE:
            for each in self._begun:
                self._cache.response_begun(each)
            self._begun.clear()
        return use


def unfinished(name: str, kind: str, fault: str | None = None) -> Outcome:
    """A request that was never begun: `canceled` or `expired`; free."""
    line = json.dumps({"custom_id": name, "result": {"type": kind}}).encode()
    return _outcome(name, kind, line, {"billed": False, "cost_usd": 0.0, "fault": fault})


def _errored(name: str, problem: Problem, struck: Fault | None) -> Outcome:
    error = {**problem.body(""), "type": "error", "request_id": None}
    line = json.dumps({"custom_id": name, "result": {"type": "errored", "error": error}}).encode()
    said = {"error_type": problem.error_type, "message": problem.message, "billed": False, "cost_usd": 0.0}
    return _outcome(name, "errored", line, {**said, "fault": struck.name if struck is not None else None})


def _outcome(name: str, kind: str, line: bytes, said: Mapping[str, Any]) -> Outcome:
    return Outcome(kind, name.encode() + b" " + line + b"\n", {"custom_id": name, "result": kind, **said})


def _check_for_batches(body: Mapping[str, Any]) -> None:
    """What a message may have and a request of a batch may not.

    Raises:
        Problem: 400 that names the field.
    """
    for name in ("speed", "fallbacks"):
        if name in body:
            raise Problem.invalid(f"{name}: is not supported in batches")
    if body.get("stream"):
        raise Problem.invalid("stream: is not supported in batches")
    if body.get("max_tokens") == 0 and not isinstance(body["max_tokens"], bool):
        raise Problem.invalid("max_tokens: Input should be greater than or equal to 1")
