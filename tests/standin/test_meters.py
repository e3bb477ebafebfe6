"""Rate limits on a clock that a test moves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.meters import Meters
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


def passes(meters: Meters, tokens: int = 10) -> bool:
    """Whether a request is admitted."""
    try:
        meters.admit(tokens)
    except Problem:
        return False
    return True


def test_a_burst_passes_and_the_rest_waits_for_the_refill() -> None:
    """A bucket of one second at 60 a minute holds one request, and one more each second."""
    clock = Clock()
    meters = Meters(StandinOptions(requests_per_minute=60, burst_s=1.0), clock)
    assert [passes(meters), passes(meters)] == [True, False]
    clock.now += 1.0
    assert [passes(meters), passes(meters)] == [True, False]


def test_retry_after_is_whole_seconds_rounded_up_and_enough() -> None:
    """Before it has passed the request is refused again, after it the request is admitted."""
    clock = Clock()
    meters = Meters(StandinOptions(input_tokens_per_minute=600, burst_s=60), clock)
    meters.admit(600)
    with pytest.raises(Problem, match="input tokens per minute") as caught:
        meters.admit(25)
    assert caught.value.headers["retry-after"] == "3"
    assert caught.value.headers["x-should-retry"] == "true"
    clock.now += 2
    assert not passes(meters, 25)
    clock.now += 1
    assert passes(meters, 25)


def test_the_most_restrictive_limit_decides_the_wait() -> None:
    """With several limits exceeded the longest wait is told."""
    meters = Meters(StandinOptions(requests_per_minute=60, input_tokens_per_minute=60, burst_s=1), Clock())
    meters.admit(31)
    with pytest.raises(Problem) as caught:
        meters.admit(1)
    assert caught.value.headers["retry-after"] == "31"


def test_output_is_charged_when_it_was_produced() -> None:
    """An answer's tokens stop later requests, however small those are."""
    clock = Clock()
    meters = Meters(StandinOptions(output_tokens_per_minute=60, burst_s=60), clock)
    assert passes(meters)
    meters.produced(90)
    assert not passes(meters)
    clock.now += 31.0
    assert passes(meters)


def test_a_request_larger_than_a_bucket_passes_when_it_is_full() -> None:
    """It is not refused for ever, and what follows pays its debt."""
    clock = Clock()
    meters = Meters(StandinOptions(input_tokens_per_minute=600, burst_s=1), clock)
    assert passes(meters, 100)
    clock.now += 9.9
    assert not passes(meters, 10)
    clock.now += 0.2
    assert passes(meters, 10)


def test_headers_tell_limit_remainder_and_the_moment_of_fullness() -> None:
    """Token remainders are rounded to thousands, and the reset is when the bucket is full again."""
    options = StandinOptions(requests_per_minute=60, input_tokens_per_minute=200_000, output_tokens_per_minute=80_000)
    meters = Meters(options, Clock())
    meters.admit(100_400)
    before = datetime.now(UTC)
    told = meters.headers()
    assert (told["anthropic-ratelimit-requests-limit"], told["anthropic-ratelimit-requests-remaining"]) == ("60", "59")
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "100000"
    assert told["anthropic-ratelimit-tokens-limit"] == "280000"
    assert told["anthropic-ratelimit-tokens-remaining"] == "180000"
    full = before + timedelta(seconds=100_400 * 60 / 200_000)
    for name in ("input-tokens", "tokens"):
        reset = datetime.fromisoformat(told[f"anthropic-ratelimit-{name}-reset"])
        assert full <= reset <= full + timedelta(seconds=3)


def test_limits_that_are_only_announced_refuse_nothing_and_owe_nothing() -> None:
    """Without limits any number passes, and the headers stay true to what a refill of the announced rate holds."""
    clock = Clock()
    meters = Meters(StandinOptions(), clock)
    for _ in range(20_000):
        meters.admit(10_000)
    assert meters.headers()["anthropic-ratelimit-requests-remaining"] == "0"
    clock.now += 60.0
    assert meters.headers()["anthropic-ratelimit-requests-remaining"] == "10000"


def test_a_self_hosted_server_tells_nothing() -> None:
    """Without limit headers a refusal still says how long to wait."""
    meters = Meters(StandinOptions(requests_per_minute=1, burst_s=1, limit_headers=False), Clock())
    assert meters.headers() == {}
    meters.admit(1)
    with pytest.raises(Problem) as caught:
        meters.admit(1)
    assert set(caught.value.headers) == {"retry-after", "x-should-retry"}


@settings(max_examples=50, deadline=None)
@given(
    rate=st.integers(1, 600),
    burst_s=st.sampled_from([1.0, 10.0, 60.0]),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_refill(rate: int, burst_s: float, gaps: list[float]) -> None:
    """Over any time, no more requests pass than a full bucket and what flowed in."""
    clock = Clock()
    meters = Meters(StandinOptions(requests_per_minute=rate, burst_s=burst_s), clock)
    passed = 0
    for gap in gaps:
        clock.now += gap
        passed += passes(meters)
        assert passed <= max(1.0, rate * burst_s / 60) + (clock.now - 1000.0) * rate / 60 + 1e-6
