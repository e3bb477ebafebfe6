"""When batches are used for a deadline, and when they are left."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.batches.deadlines import switch_after_s

HOUR_S = 3600.0
SECONDS = st.floats(0, 40 * 86_400, allow_nan=False)


@given(SECONDS, SECONDS)
def test_time_is_kept_for_asking_by_itself(deadline_s: float, elapsed_s: float) -> None:
    """The switch is never in the past, and leaves a quarter of the deadline, at most six hours."""
    after_s = switch_after_s(deadline_s, elapsed_s)
    assert after_s >= 0
    if after_s > 0:
        kept = min(deadline_s / 4, 6 * HOUR_S)
        assert abs(elapsed_s + after_s + kept - deadline_s) < 1e-6 * max(1.0, deadline_s)


@given(SECONDS)
def test_a_batch_is_begun_only_where_it_has_an_hour(deadline_s: float) -> None:
    """Less is asked through messages at once; what is in flight already is given the time that is left."""
    after_s = switch_after_s(deadline_s)
    assert after_s == 0 or after_s >= HOUR_S
    assert switch_after_s(deadline_s, deadline_s + 1) == 0


def test_known_deadlines() -> None:
    """Half an hour is too short, three hours leave two and a quarter, a day eighteen."""
    assert switch_after_s(1800) == 0
    assert switch_after_s(3 * HOUR_S) == 2.25 * HOUR_S
    assert switch_after_s(24 * HOUR_S) == 18 * HOUR_S
    assert switch_after_s(2, 0.5) == 1.0
