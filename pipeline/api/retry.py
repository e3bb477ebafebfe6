"""From a failed attempt to a verdict, and from the verdict to a wait. Pure, but for tenacity's loop.

The order of judgement (the reference's sections 5.2 to 5.4): error codes and statuses that no wait mends stop the run;
then `x-should-retry`, where the server says so itself; then the status. A 429 is never about the item: what is not
retried stops the run, and without `retry-after` it is a spending limit unless its body says otherwise. Never the text
of a message: wording may change. A 404 is the model or the base URL, and a redirect is a wrong base URL: both stop.
"""

import math
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from pipeline.api.messages import ErrorBody
from pipeline.settings import SettingsRetry

__all__ = ["Action", "AttemptFailedError", "Verdict", "judge", "parse_retry_after", "retrying", "wait_s"]

_STOP_CODES = {"enforced_spend_limit_reached", "contract_spend_limit_reached", "organization_on_hold"}
_STOP_TYPES = {"authentication_error", "billing_error", "permission_error"}
_STOP_STATUSES = {401, 402, 403, 404}
_SHRINK_CODES = {"image_dimensions_too_large", "request_body_too_large_after_decoding"}
_PASSING = {408, 409, 429}
_FIRST_WAIT_S = 0.5
_LONGEST_ASKED_S = 86_400.0
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class Action(StrEnum):
    """What follows a failed attempt."""

    RETRY = "retry"
    FAIL = "fail"
    STOP = "stop"
    SHRINK = "shrink"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt means.

    Attributes:
        action: retry the attempt, fail the item, stop the run, or shrink the request and send it again.
        error_type: the service's, or ours.
        message: one line for people.
        error_code: the service's, `None` where it said none.
        wait_s: what the server asked for, `None` where it did not.
        limited: the rate limit refused it: everybody waits.
        overloaded: the service failed or was not reached: counts for the breaker.
        elsewhere: this endpoint is out of the run, another takes the attempt.
        http_status: `None` where no answer came.
        request_id: of the answer.
    """

    action: Action
    error_type: str
    message: str
    error_code: str | None = None
    wait_s: float | None = None
    limited: bool = False
    overloaded: bool = False
    elsewhere: bool = False
    http_status: int | None = None
    request_id: str | None = None

    @classmethod
    def unanswered(cls, error_type: str, message: str) -> "Verdict":
        """No answer came: retried; the service may have billed it."""
        return cls(Action.RETRY, error_type, message, overloaded=True)

    @property
    def retryable(self) -> bool:
        """Whether the next run takes the item up by itself: the fault was the network's or the service's."""
        return self.action is Action.RETRY or self.overloaded


class AttemptFailedError(Exception):
    """One attempt failed; carries the verdict to the retry loop.

    Attributes:
        counts: whether it is one of `retry.max_attempts`; what another endpoint is to take is not.
        in_outage: whether the service failed for all: what follows is paced by probes, not by the quota of retries.
    """

    def __init__(self, verdict: Verdict, *, counts: bool = True, in_outage: bool = False) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.counts = counts
        self.in_outage = in_outage


def judge(status: int, said: ErrorBody, headers: Mapping[str, str], now: datetime) -> Verdict:
    """The verdict on an answer that is no 200.

    Args:
        status: HTTP status.
        said: what its body said.
        headers: of the answer, names in lower case.
        now: UTC, for dates in `retry-after` where the answer has no date of its own.
    """
    action = _action(status, said, headers)
    message = said.message
    if 300 <= status < 400:
        message = (
            f"the API redirects to {_origin(headers.get('location', ''))}; not followed: the key goes nowhere else"
        )
    return Verdict(
        action,
        said.error_type,
        message,
        said.error_code,
        parse_retry_after(headers.get("retry-after"), _date(headers.get("date")) or now),
        limited=status == 429 and action is Action.RETRY,
        overloaded=status >= 500,
        http_status=status,
        request_id=headers.get("request-id") or said.request_id,
    )


def _action(status: int, said: ErrorBody, headers: Mapping[str, str]) -> Action:
    code = said.error_code
    if code in _STOP_CODES or status in _STOP_STATUSES or said.error_type in _STOP_TYPES or 300 <= status < 400:
        return Action.STOP
    if status == 413 or code in _SHRINK_CODES:
        return Action.SHRINK
    advice = headers.get("x-should-retry", "").strip().lower()
    if status == 429:
        may_pass = "retry-after" in headers or advice == "true" or code == "ramp_limit_exceeded"
        return Action.RETRY if may_pass and advice != "false" else Action.STOP
    if advice in ("true", "false"):
        return Action.RETRY if advice == "true" else Action.FAIL
    return Action.RETRY if status in _PASSING or status >= 500 else Action.FAIL


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that the server asks to wait: a number or an HTTP date; `None` for what is absent, past or garbage.

    At most a day: what asks for more is no wait that a run can keep.
    """
    text = (text or "").strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        moment = _date(text)
        seconds = (moment - now).total_seconds() if moment else math.nan
    return min(seconds, _LONGEST_ASKED_S) if seconds > 0 else None


def retrying(
    settings: SettingsRetry, chance: random.Random, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
) -> AsyncRetrying:
    """The retry loop of one turn: only `AttemptFailedError` with a verdict to retry is tried again.

    Args:
        settings: attempts and the longest wait of our own.
        chance: randomness, for the jitter.
        sleep: how to wait.
    """
    counted = 0

    def may_pass(error: BaseException) -> bool:
        nonlocal counted
        if not isinstance(error, AttemptFailedError) or error.verdict.action is not Action.RETRY:
            return False
        counted += error.counts
        return True

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.verdict.wait_s if isinstance(error, AttemptFailedError) else None
        return wait_s(asked, max(1, counted), settings.max_wait_seconds, chance)

    return AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=lambda _: counted >= settings.max_attempts,
        wait=wait,
        sleep=sleep,
        reraise=True,
    )


def wait_s(asked_s: float | None, attempt: int, longest_s: float, chance: random.Random) -> float:
    """Seconds before the next attempt: what was asked for and up to a tenth more, else full jitter.

    Full jitter draws from 0 to 0.5 x 2^(attempt-1) seconds, at most `longest_s` (the AWS Architecture Blog's
    "Exponential Backoff And Jitter", 2015).
    """
    if asked_s is not None:
        return asked_s + chance.uniform(0, min(0.1 * asked_s, 5.0))
    return chance.uniform(0, min(longest_s, _FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30)))


def _date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _origin(location: str) -> str:
    """Scheme and host of a redirect's target; its path and userinfo may hold what is not ours to show."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an unreadable place"
    if not host:
        return "another path"
    flat = "".join(character for character in host if character.isprintable())[:200]
    return f"{parts.scheme or 'https'}://{flat}{f':{port}' if port else ''}"
