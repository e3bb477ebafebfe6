"""The share of a limit: the whole while much is left, less and less as it runs dry, alike for everybody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits.sharing import Share


def settled(left: float) -> Share:
    """A share that was told the same for a minute."""
    share = Share(0.3)
    for step in range(60):
        share.told(left, float(step))
    return share


def test_alone_it_takes_everything() -> None:
    """Before anything is told, and while two fifths are left, the whole rate is taken."""
    assert Share(0.3).factor() == 1.0
    assert settled(0.45).factor() == 1.0
    assert settled(5.0).factor() == 1.0


@given(st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_less_is_left_the_less_is_taken_but_never_nothing(one: float, other: float) -> None:
    """The rule is monotonous and keeps everybody going."""
    low, high = sorted((one, other))
    assert 0 < settled(low).factor() <= settled(high).factor() <= 1


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("burst_s", [1.0, 60.0])
def test_so_many_programs_settle_at_equal_parts(runs: int, burst_s: float) -> None:
    """A bucket that all of them drain comes to rest where together they take the rate, whoever came first."""
    shares = [Share(0.3) for _ in range(runs)]
    left, rates = 1.0, [0.0] * runs
    for step in range(4000):
        now = step * 0.05
        for number, share in enumerate(shares):
            if step >= 400 * number:
                share.told(left, now)
                rates[number] = share.factor()
        left = min(1.0, max(0.0, left + 0.05 * (1 - sum(rates)) / burst_s))
    assert rates == pytest.approx([1 / runs] * runs, rel=0.1)


def test_one_answer_after_a_long_silence_is_one_sample() -> None:
    """A single low reading does not stop a run that was idle for an hour."""
    share = settled(1.0)
    share.told(0.0, 3600.0)
    assert share.factor() == 1.0


def test_waits_for_room_in_a_strict_bucket() -> None:
    """A bucket that was empty a moment ago has room a quarter of a second later, and for a large request after more."""
    share = Share(0.3)
    assert share.wait_s(0.5, 0.0) == 0.0
    share.told(0.1, 10.0)
    assert share.wait_s(0.0, 10.0) == pytest.approx(0.15)
    assert share.wait_s(0.6, 10.0) == pytest.approx(0.5)
    assert share.wait_s(7.0, 10.0) == pytest.approx(0.9)
    assert share.wait_s(0.0, 10.15) == 0.0


def test_a_bucket_that_every_request_empties_says_less_by_its_level() -> None:
    """It is half full on the mean, so only what is nearly empty is taken for somebody else's use."""
    assert settled(0.3).factor() < 1.0
    assert settled(0.3).factor(tight=True) == 1.0
    assert settled(0.05).factor(tight=True) < 0.5
