"""One batch in time: when it ends, how much of it is finished then, and what is told of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.batches.batch import COUNTS, LIFE_S, RETENTION_S, AskedWith, Batch
from pipeline.standin.batches.spool import Spool

NOW = 1_790_000_000.0
ITEMS = Spool()


def batch(**changes: Any) -> Batch:
    """A batch of ten requests that takes a hundred seconds."""
    usual = {"id": "msgbatch_1", "number": 1, "first_item": 1, "seed": 0, "asked_with": AskedWith("2023-06-01", "")}
    times = {"created": NOW, "takes_s": 100.0, "cancel_takes_s": 5.0}
    return Batch(**{**usual, **times, "items": ITEMS, "total": 10, **changes})


def test_it_ends_when_its_last_request_is_finished() -> None:
    """All of them are by then."""
    assert (batch().due, batch().finished()) == (NOW + 100, 10)
    assert (batch(takes_s=0.0).due, batch(takes_s=0.0).finished()) == (NOW, 10)


def test_a_cancellation_keeps_what_is_finished_and_takes_its_time() -> None:
    """Half of the time is half of the requests."""
    canceled = batch(canceled=NOW + 50)
    assert (canceled.due, canceled.finished()) == (NOW + 55, 5)
    assert batch(canceled=NOW + 99).due == NOW + 100


def test_it_expires_after_a_day_with_what_is_finished_by_then() -> None:
    """A batch of two days is half done."""
    slow = batch(takes_s=2 * LIFE_S)
    assert (slow.due, slow.finished()) == (NOW + LIFE_S, 5)


def test_while_it_is_held_nothing_is_finished() -> None:
    """It ends by expiring or by being canceled alone."""
    assert (batch(held=True).due, batch(held=True).finished()) == (NOW + LIFE_S, 0)
    assert (batch(held=True, canceled=NOW).due, batch(held=True, canceled=NOW).finished()) == (NOW + 5, 0)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 3 * LIFE_S), st.none() | st.floats(0, 2 * LIFE_S), st.integers(1, 1000), st.booleans(), st.floats(0, 9)
)
def test_it_always_ends_within_a_day_and_never_with_more_than_it_has(
    takes_s: float, canceled: float | None, total: int, held: bool, cancel_takes_s: float
) -> None:
    """Whatever happens to it."""
    moment = None if canceled is None else NOW + canceled
    each = batch(takes_s=takes_s, canceled=moment, total=total, held=held, cancel_takes_s=cancel_takes_s)
    assert NOW <= each.due <= NOW + LIFE_S
    assert 0 <= each.finished() <= total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_an_order_has_every_request_once_and_is_the_same_on_every_server(
    total: int, number: int, seed: int, reading: int
) -> None:
    """It is drawn by seed, batch and reading."""
    orders = [batch(total=total, number=number, seed=seed).order(reading) for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(total))


def test_each_reading_batch_and_seed_has_an_order_of_its_own() -> None:
    """Nobody can count on one."""
    orders = [batch(total=30).order(), batch(total=30).order(1), batch(total=30).order(2)]
    orders += [batch(total=30, number=2).order(), batch(total=30, seed=1).order()]
    assert len({tuple(order) for order in orders}) == 5
    assert list(range(30)) not in orders


def test_an_open_batch_counts_all_as_processing() -> None:
    """Counts are no progress bar; there is nowhere to fetch results yet."""
    told = batch().told(NOW + 99, "http://host")
    assert told["request_counts"] == {"processing": 10, **dict.fromkeys(COUNTS, 0)}
    assert (told["processing_status"], told["ended_at"], told["results_url"]) == ("in_progress", None, None)
    created, expires = (datetime.fromisoformat(told[name]) for name in ("created_at", "expires_at"))
    assert (created, expires - created) == (datetime.fromtimestamp(NOW, UTC), timedelta(days=1))
    canceling = batch(canceled=NOW + 1).told(NOW + 2, "http://host")
    assert canceling["processing_status"] == "canceling"
    assert canceling["cancel_initiated_at"] == "2026-09-21T14:13:21.000000Z"


def test_an_ended_batch_tells_its_counts_and_where_its_results_are() -> None:
    """On the host that it is given."""
    counts = {"succeeded": 4, "errored": 3, "canceled": 2, "expired": 1}
    told = batch(ended=NOW + 7, counts=counts).told(NOW + 8, "http://host")
    assert told["request_counts"] == {"processing": 0, **counts}
    assert told["results_url"] == "http://host/v1/messages/batches/msgbatch_1/results"
    assert (told["processing_status"], told["archived_at"]) == ("ended", None)


def test_results_are_archived_29_days_after_creation() -> None:
    """The record stays, its results go."""
    each = batch(ended=NOW + 7)
    assert not each.archived(NOW + RETENTION_S - 1)
    told = each.told(NOW + RETENTION_S, "http://host")
    assert told["results_url"] is None
    assert datetime.fromisoformat(told["archived_at"]) == datetime.fromtimestamp(NOW, UTC) + timedelta(days=29)
    assert not batch().archived(NOW + RETENTION_S)
