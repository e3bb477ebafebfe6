"""Counters of a run."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import MOMENT, answered, failed, paid

from pipeline.engines.totals import CountingRecorder, Totals
from pipeline.errors import OutputError
from pipeline.records import Attempt, ImageRecord, Mode

pytestmark = pytest.mark.anyio


class Recorder:
    """Takes attempts, or fails to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken: list[Any] = []

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """Its number is how many came before."""
        self.taken.append((item_id, turn, attempt, started_at))
        return len(self.taken)

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Writes it down."""
        if self.error is not None:
            raise self.error
        self.taken.append((flight, attempt))

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps it."""
        self.taken.append((name, raw))


OUTCOMES = st.sampled_from(["succeeded", "reused", "failed", "skipped", "pending"])


@given(st.lists(OUTCOMES))
def test_each_item_is_in_exactly_one_count(ends: list[str]) -> None:
    """Whatever they come to, the five counts add up to the total."""
    totals = Totals()
    for end in ends:
        totals.total += 1
        if end == "succeeded":
            totals.count_outcome(answered("a"))
        elif end == "reused":
            totals.count_outcome(answered("a", mode=Mode.REUSED))
        elif end == "failed":
            totals.count_outcome(failed("a"))
        elif end == "skipped":
            totals.skipped += 1
    counts = {end: getattr(totals, end) for end in ("succeeded", "reused", "failed", "skipped", "pending")}
    assert counts == {end: ends.count(end) for end in counts}
    assert sum(counts.values()) == totals.total


def test_failures_are_counted_by_type() -> None:
    """As they stand in the summary."""
    totals = Totals()
    for kind in ("timeout", "image_missing", "timeout"):
        totals.count_outcome(failed("a", kind))
    assert totals.failures_by_type == {"timeout": 2, "image_missing": 1}


def test_images_are_those_that_were_captioned() -> None:
    """Speed counts what was sent: neither copies nor failures."""
    totals = Totals()
    two = replace(answered("a"), images=(ImageRecord("a"), ImageRecord("b")))
    for outcome in (two, answered("b", mode=Mode.REUSED), failed("c")):
        totals.count_outcome(outcome)
    assert totals.images == 2


def test_attempts_are_counted_by_how_they_ended() -> None:
    """A 429, its retry that was answered, and one that was lost."""
    totals = Totals()
    for attempt in (paid("a", 1, status=429), paid("a", 2), paid("b", 3, status=None)):
        totals.count_attempt(attempt)
    assert (totals.sent, totals.answered, totals.retried, totals.rate_limited) == (3, 1, 2, 1)
    assert (totals.usage.input_tokens, totals.usage.output_tokens, totals.cost_usd) == (10, 2, 0.5)


async def test_what_is_counted_is_durable() -> None:
    """An attempt that could not be written down is not in the sums that people see."""
    totals, good, bad = Totals(), Recorder(), Recorder(OutputError("full"))
    recorder = CountingRecorder(good, totals)
    assert recorder.depart("a", 1, 1, MOMENT) == 1
    await recorder.arrive(1, paid("a"))
    await recorder.keep_unreadable("name", b"raw")
    assert good.taken == [("a", 1, 1, MOMENT), (1, paid("a")), ("name", b"raw")]
    with pytest.raises(OutputError):
        await CountingRecorder(bad, totals).arrive(2, paid("b"))
    assert totals.sent == 1
