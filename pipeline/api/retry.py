"""From a failed attempt to a verdict, and from the verdict to a wait. Pure, but for tenacity's loop.

The order of judgement (the reference's sections 5.2 to 5.4): error codes that no wait mends stop the run; then
`x-should-retry`, where the server says so itself; then the status. A 429 without `retry-after` is a spending limit
unless its body says otherwise. Never the text of a message: wording may change.
A 404 is the model or the base URL, so it stops the run.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from pipeline.settings import SettingsRetry

__all__ = ["Action", "AttemptFailedError", "Verdict", "judge", "parse_retry_after", "retrying", "wait_s"]

_SPEND_CODES = {"enforced_spend_limit_reached", "contract_spend_limit_reached", "organization_on_hold"}
_STOP_TYPES = {"authentication_error", "billing_error", "permission_error"}
_PASSING = {408, 409, 429}
_FIRST_WAIT_S = 0.5
_LONGEST_ASKED_S = 7 * 86_400.0


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
        wait_s: what the server asked for, `None` where it did not.
        limited: the rate limit refused it: everybody waits.
        overloaded: the service failed or was not reached: counts for the breaker.
        http_status: `None` where no answer came.
    """

    action: Action
    error_type: str
    message: str
    wait_s: float | None = None
    limited: bool = False
    overloaded: bool = False
    http_status: int | None = None
    request_id: str | None = None

    @classmethod
    def unanswered(cls, error_type: str, message: str) -> "Verdict":
        """No answer came: retried; the service may have billed it."""
        return cls(Action.RETRY, error_type, message, overloaded=True)


class AttemptFailedError(Exception):
    """One attempt failed; carries the verdict to the retry loop."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


def judge(
    status: int,
    error: tuple[str, str, str | None],
    headers: Mapping[str, str],
    now: datetime,
    request_id: str | None = None,
) -> Verdict:
    """The verdict on an answer that is no 200.

    Args:
        status: HTTP status.
        error: type, message and error code of the body.
        headers: of the answer.
        now: UTC, for dates in `retry-after`.
        request_id: of the answer.
    """
    error_type, message, code = error
    wait_s = parse_retry_after(headers.get("retry-after"), now)
    action = _action(status, error_type, code, headers, wait_s)
    return Verdict(
        action,
        error_type,
        message,
        wait_s,
        limited=status == 429 and action is Action.RETRY,
        overloaded=status >= 500,
        http_status=status,
        request_id=request_id,
    )


def _action(status: int, error_type: str, code: str | None, headers: Mapping[str, str], wait_s: float | None) -> Action:
    if code in _SPEND_CODES or status in (401, 402, 403, 404) or error_type in _STOP_TYPES:
        return Action.STOP
    if status == 413 or code == "image_dimensions_too_large":
        return Action.SHRINK
    said = headers.get("x-should-retry", "").lower()
    if status == 429 and wait_s is None and "retry-after" not in headers and said != "true":
        return Action.STOP if code != "ramp_limit_exceeded" else Action.RETRY
    if said in ("true", "false"):
        return Action.RETRY if said == "true" else Action.FAIL
    return Action.RETRY if status in _PASSING or status >= 500 else Action.FAIL


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that the server asks to wait: a number or an HTTP date; `None` for what is absent, past or garbage.

    At most a week: what asks for more is no wait that a run can keep.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
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

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.verdict.wait_s if isinstance(error, AttemptFailedError) else None
        return wait_s(asked, state.attempt_number, settings.max_wait_seconds, chance)

    return AsyncRetrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, AttemptFailedError) and error.verdict.action is Action.RETRY
        ),
        stop=stop_after_attempt(settings.max_attempts),
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
    return chance.uniform(0, min(longest_s, _FIRST_WAIT_S * 2 ** min(attempt - 1, 30)))
