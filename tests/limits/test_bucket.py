"""Token buckets: what they grant over any span, and that they always progress."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits.bucket import Bucket

amounts = st.floats(0.1, 5000)
rates = st.floats(1, 1_000_000)


@given(rates, st.floats(0.1, 60), st.lists(st.tuples(amounts, st.floats(0, 30)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=80)
def test_grants_at_most_burst_and_refill_over_any_span(
    rate: float, burst_s: float, requests: list[tuple[float, float]]
) -> None:
    """Between any two grants no more is given than the burst and what the rate refills, whatever comes when."""
    bucket, now, grants = Bucket.full(rate, burst_s, 0.0), 0.0, []
    for amount, idle in requests:
        now += idle
        now += bucket.wait_s(amount, now)
        bucket.take(amount, now)
        grants.append((now, amount))
    for first in range(len(grants)):
        for last in range(first, len(grants)):
            given_before = sum(amount for _, amount in grants[first:last])
            allowed = bucket.burst + rate / 60 * (grants[last][0] - grants[first][0])
            final = min(grants[last][1], bucket.burst)
            assert given_before + final <= allowed * (1 + 1e-4)


@given(rates, st.floats(0.1, 60), amounts, st.floats(0, 1e7), st.floats(-1e5, 0))
@settings(deadline=None, max_examples=80)
def test_the_wait_it_names_is_long_enough(
    rate: float, burst_s: float, amount: float, start: float, debt: float
) -> None:
    """Who waits exactly as long as told is let through at once, even on a clock that has run for months."""
    bucket = Bucket.full(rate, burst_s, start)
    bucket.correct(debt - bucket.burst, start)
    later = start + bucket.wait_s(amount, start)
    assert bucket.wait_s(amount, later) <= 1e-6


def test_what_is_larger_than_the_burst_passes_when_full_and_is_paid_off_after() -> None:
    """A request of ten times the burst goes at once, and the next one waits for the whole of it."""
    bucket = Bucket.full(60, 10, 0.0)
    assert bucket.wait_s(100, 0.0) == 0
    bucket.take(100, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(91)


def test_gives_back_what_was_not_used_but_never_more_than_it_holds() -> None:
    """A correction refills, up to the burst."""
    bucket = Bucket.full(600, 1, 0.0)
    bucket.take(8, 0.0)
    bucket.correct(5, 0.0)
    assert bucket.level == pytest.approx(7)
    bucket.correct(100, 0.0)
    assert bucket.level == 10


def test_a_lowered_limit_holds_at_once() -> None:
    """Adopting a tenth of the rate cuts the burst that had been saved up."""
    bucket = Bucket.full(6000, 1, 0.0)
    bucket.adopt(600, 1, 0.0)
    bucket.take(10, 0.0)
    assert bucket.wait_s(10, 0.0) == pytest.approx(1.0)


def test_a_drained_bucket_refills_only_after_the_pause() -> None:
    """What the service called used up until a moment gives nothing that was saved up before it."""
    bucket = Bucket.full(60, 10, 0.0)
    bucket.drain(30.0)
    assert bucket.wait_s(1, 30.0) == pytest.approx(1.0)
    assert bucket.fill(30.0) == 1.0
    assert bucket.fill(40.0) == 0.0


def test_holds_one_request_however_low_the_rate() -> None:
    """One a minute still lets one request through."""
    assert Bucket.full(1, 0.5, 0.0).wait_s(1, 0.0) == 0


def test_a_clock_that_stands_still_refills_nothing() -> None:
    """Two looks at the same moment, or an earlier one, see the same level."""
    bucket = Bucket.full(60, 2, 10.0)
    bucket.take(2, 10.0)
    assert bucket.wait_s(1, 5.0) == bucket.wait_s(1, 10.0) == pytest.approx(1.0)
