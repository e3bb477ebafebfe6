"""Leases and pacers of many workers in virtual time: the limit holds in sum and is used, whatever gets lost."""

import pytest

from benchmarks.simulate_scale import Scenario, simulate

BASE = Scenario(
    workers=8,
    requests_per_minute=1_200,
    input_tokens_per_minute=2_400_000,
    output_tokens_per_minute=400_000,
    senders=32,
    joins_s=2.0,
    seconds=40.0,
    warm_up_s=12.0,
)


def changed(**more: object) -> Scenario:
    """The scenario with something else."""
    return Scenario(**{name: getattr(BASE, name) for name in Scenario.__dataclass_fields__} | more)  # type: ignore[arg-type]


@pytest.mark.parametrize("burst_s", [1.0, 60.0])
@pytest.mark.parametrize("learns", [False, True])
def test_eight_workers_use_the_limit_and_never_exceed_it(burst_s: float, learns: bool) -> None:
    """Told or learned, strict or generous: at least 0.95, hardly anything refused, everybody alike."""
    found = simulate(changed(burst_s=burst_s, learns=learns))
    assert found.binding == "requests"
    assert 0.95 <= found.used <= 1.03
    assert found.rejected <= 0.01
    assert found.most_in_force <= 1 + 1e-9
    assert found.least >= 0.8 * found.most


def test_lost_messages_and_dead_workers_cost_little_and_break_nothing() -> None:
    """Leases run out by themselves, and what a dead worker had goes to the others."""
    found = simulate(changed(loss=0.05, kills=3, seconds=60.0))
    assert found.used >= 0.9
    assert found.most_in_force <= 1 + 1e-9
    assert found.rejected <= 0.01


def test_a_budget_is_spent_and_never_exceeded_though_workers_die() -> None:
    """What was in flight at a death counts at its worst."""
    found = simulate(changed(budget_usd=0.6, kills=2, warm_up_s=1.0, seconds=30.0))
    assert 0.5 < found.spent_usd <= 0.6 + 1e-9
