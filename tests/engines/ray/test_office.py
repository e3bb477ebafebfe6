"""The office: who works on which shard, what all of them come to, and how a run is ended."""

from typing import Any

import pytest
from support.jobs import CANARY

from pipeline.engines.control import Stop
from pipeline.engines.ray.gathering import LogLine
from pipeline.engines.ray.office import MOST_FUTILE, Beat, Office, Order
from pipeline.engines.selection import Choice
from pipeline.engines.totals import Totals
from pipeline.limits.leasing import LaneReport, Report
from pipeline.limits.pacer import PaceStatistics
from pipeline.settings import Config

PACE = PaceStatistics(1, 2, "", 0.0, 0.0, False)


def order(**limits: Any) -> Order:
    """What a driver entrusts."""
    config = Config.model_validate(
        {
            "manifest": {"path": "photos.csv"},
            "api": {"model": "claude-haiku-4-5", "max_tokens": 10},
            "prompt": {"user": "Describe."},
            "limits": limits,
            "output": {"path": "out"},
        }
    )
    return Order("run", config, {"ANTHROPIC_API_KEY": CANARY}, Choice(), False, "/", 1, "1")


def office(**limits: Any) -> Office:
    """One of four shards that has its order."""
    found = Office(4)
    found.entrust(order(**limits), {})
    return found


def beat(run_id: str, ack: int = 0, **counts: Any) -> Beat:
    """How a worker stands."""
    return Beat(run_id, Report(ack, (LaneReport(),)), Totals(**counts), PACE, [])


def test_the_key_shows_in_no_representation() -> None:
    """Ray and Python print what they carry."""
    given = order()
    assert CANARY not in repr(given)
    found = office()
    assert CANARY not in f"{found.join(1)!r} {found.look()!r} {found.order()!r}"


def test_an_office_without_an_order_takes_nobody_in() -> None:
    """The driver sees it, and entrusts it."""
    found = Office(2)
    assert not found.look().is_ready
    assert found.beat(1, beat("x")) is None
    with pytest.raises(LookupError):
        found.join(1)


def test_a_second_worker_of_a_shard_hears_of_the_first() -> None:
    """The first one's work stays in the sums, its items do not."""
    found = office()
    first = found.join(2)
    assert first is not None
    found.beat(2, beat(first.run_id, total=10, succeeded=4, sent=5, cost_usd=0.5))
    second = found.join(2)
    assert second is not None
    assert second.earlier == (first.run_id,)
    found.beat(2, beat(second.run_id, total=10, succeeded=3, skipped=4, sent=3, cost_usd=0.25))
    found.beat(2, beat(first.run_id, total=99))
    totals = found.look().totals
    assert (totals.total, totals.sent, totals.cost_usd) == (10, 8, 0.75)
    assert totals.succeeded == 7
    found.settled(2, Totals(total=10, succeeded=10, sent=9, complete=True))
    assert found.look().totals.sent == 9


def test_a_shard_that_kills_every_worker_ends_the_run() -> None:
    """Unless something was settled in between, which shows that it goes on."""
    found = office()
    for number in range(MOST_FUTILE):
        joined = found.join(3)
        assert joined is not None
        if number == 1:
            found.beat(3, beat(joined.run_id, total=1, succeeded=1))
    assert found.stopped() is None
    for _ in range(MOST_FUTILE):
        found.join(3)
    stop = found.stopped()
    assert stop is not None
    assert stop.exit_code == 1
    assert "shard 3" in stop.reason


def test_the_end_of_a_run_reaches_every_worker_and_lets_nobody_begin() -> None:
    """With the answer to the next beat."""
    found = office()
    joined = found.join(1)
    assert joined is not None
    found.stop(Stop(143, "SIGTERM"), at_once=False)
    answer = found.beat(1, beat(joined.run_id))
    assert answer is not None
    assert answer.stop == Stop(143, "SIGTERM")
    assert not answer.at_once
    assert found.join(2) is None


def test_log_lines_are_handed_out_once_with_their_shard() -> None:
    """In order."""
    found = office()
    joined = found.join(1)
    assert joined is not None
    line = LogLine("pipeline", 20, "said", {})
    found.beat(1, Beat(joined.run_id, Report(0, (LaneReport(),)), Totals(), PACE, [line]))
    found.leave(1, joined.run_id, 0.0, [line])
    assert found.look().lines == [("shard 1/4", line)] * 2
    assert found.look().lines == []
    assert found.look().paces == []


def test_a_successor_with_a_budget_ends_the_run_and_one_without_goes_on() -> None:
    """What the dead one knew of money is not to be had again for certain."""
    for limits, ends in (({"budget_usd": 1.0}, True), ({}, False)):
        found = Office(4)
        found.entrust(order(**limits), {1: ("run-s00001a1",)})
        answer = found.beat(1, beat("run-s00001a1", ack=7))
        assert answer is not None
        assert (answer.stop is not None) == ends
        assert found.look().attempts == {1: ("run-s00001a1",)}
