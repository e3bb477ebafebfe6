"""The clock of batches."""

import time

import pytest

from pipeline.standin.batches.clock import BatchClock


def test_it_is_real_time_and_what_it_was_moved_by() -> None:
    """Moves add up."""
    clock = BatchClock()
    assert time.time() <= clock() <= time.time()
    clock.advance(3600)
    clock.advance(0.5)
    assert time.time() + 3600.5 <= clock() + 1e-3 <= time.time() + 3600.6


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_it_does_not_go_back(seconds: float) -> None:
    """Nor to no time at all."""
    with pytest.raises(ValueError, match="allowed: seconds"):
        BatchClock().advance(seconds)
