"""What follows from an item's result in a batch. Pure.

Expired and canceled items, and those that errored by the service's fault, are not billed (the reference's section 7.4).
The service's faults are asked again in the next batch, up to `retry.max_attempts`; what the service did not take for
its images is asked by itself, where the remedies of `messages` apply; a cancellation is somebody's decision, and is
undone only where it was the run's own, for its deadline.
"""

from collections.abc import Sequence
from enum import Enum

from pipeline.api.batch_states import ItemResult
from pipeline.engines.batches.skeletons import unpacked
from pipeline.errors import AnswerError, ErrorType
from pipeline.records import Mode, Outcome, Usage
from pipeline.store.batch_records import BatchItem
from pipeline.store.journal import PaidTurn

__all__ = ["Next", "failed", "failure_of", "next_of"]

_PASSING = {"api_error", "overloaded_error", "rate_limit_error", "timeout_error"}
_CARRIED = {"invalid_request_error", "not_found_error"}
_TOO_LARGE = "request_too_large"


class Next(Enum):
    """What is done with the item."""

    SETTLE = "settle"
    BATCH = "batch"
    ALONE = "alone"
    FAIL = "fail"


def next_of(result: ItemResult, *, attempt: int, most_attempts: int, linked: bool, released: bool) -> Next:
    """What follows.

    Args:
        result: of the item.
        attempt: that it was, counted from 1.
        most_attempts: `retry.max_attempts`.
        linked: whether an image was named by URL or file id, and may travel in the request instead.
        released: whether the batch was canceled so that its items are asked through `messages` in time.
    """
    if result.kind == "succeeded":
        return Next.SETTLE
    if released and result.kind in ("canceled", "expired"):
        return Next.ALONE
    if result.kind == "expired" or (result.kind == "errored" and result.error_type in _PASSING):
        return Next.BATCH if attempt < most_attempts else Next.FAIL
    if result.kind == "errored" and (result.error_type == _TOO_LARGE or (linked and result.error_type in _CARRIED)):
        return Next.ALONE
    return Next.FAIL


def failure_of(result: ItemResult) -> AnswerError:
    """The item's failure."""
    if result.kind == "expired":
        text = "the batch expired before the item was answered; it was not billed"
        return AnswerError(ErrorType.BATCH_EXPIRED, text, retryable=True)
    if result.kind == "canceled":
        text = "the batch was canceled before the item was answered; it was not billed"
        return AnswerError(ErrorType.BATCH_CANCELED, text)
    kind = result.error_type or "api_error"
    return AnswerError(kind, result.error_message, retryable=kind in _PASSING, request_id=result.request_id)


def failed(item: BatchItem, error: AnswerError, paid: Sequence[PaidTurn]) -> Outcome:
    """The end of an item that fails by its result, with what its earlier turns cost."""
    ready = unpacked(item)
    usage, before = Usage(), {turn.turn: turn.attempt for turn in paid if turn.turn < item.turn}
    for turn in paid:
        usage += _usage(turn)
    return Outcome(
        ready.item,
        ready.records,
        error=error,
        mode=Mode.BATCHES,
        usage=usage,
        cost_usd=sum(turn.body["cost_usd"] or 0.0 for turn in paid),
        attempts=sum(before.values()) + item.attempt,
    )


def _usage(turn: PaidTurn) -> Usage:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return Usage(*(turn.body[name] or 0 for name in names))
