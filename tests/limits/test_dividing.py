"""One limit among many: whatever gets lost, what is in force never exceeds it in sum."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.limits.dividing import Division, fair

TOTAL = 600.0
TENANTS = st.sampled_from(["a", "b", "c", "d"])


class DivisionMachine(RuleBasedStateMachine):
    """Tenants beside a lessor: offers arrive, or get lost, in any order; each tenant knows what it goes by."""

    @initialize()
    def begin(self) -> None:
        """Nobody has anything."""
        self.division = Division(TOTAL)
        self.goes_by: dict[str, float] = {}
        self.offered: dict[str, float] = {}

    @rule(tenant=TENANTS, wanted=st.floats(0, 2 * TOTAL), arrives=st.booleans())
    def report(self, tenant: str, wanted: float, arrives: bool) -> None:
        """A tenant tells by which offer it goes, and gets another, which arrives or does not."""
        self.division.heard(tenant, taken=tenant in self.goes_by and self.goes_by[tenant] == self.offered.get(tenant))
        offer = self.division.offer(tenant, wanted)
        assert 0 <= offer <= min(wanted, TOTAL) + 1e-6
        self.offered[tenant] = offer
        self.goes_by.setdefault(tenant, 0.0)
        if arrives:
            self.goes_by[tenant] = offer

    @rule(tenant=TENANTS)
    def die(self, tenant: str) -> None:
        """A tenant is gone, and its lease has run out."""
        self.division.drop(tenant)
        self.goes_by.pop(tenant, None)
        self.offered.pop(tenant, None)

    @invariant()
    def holds(self) -> None:
        """The limit holds, and the division knows of everything that is in force."""
        if not hasattr(self, "division"):
            return
        assert sum(self.goes_by.values()) <= TOTAL + 1e-6
        assert self.division.in_force >= sum(self.goes_by.values()) - 1e-6
        assert all(self.division.held(tenant) >= rate - 1e-6 for tenant, rate in self.goes_by.items())


TestDivision = DivisionMachine.TestCase
TestDivision.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_one_gives_back_goes_to_another_once_it_is_known_to_be_given_back() -> None:
    """An offer of less counts only when the tenant has told that it goes by it."""
    division = Division(100.0)
    assert division.offer("a", 100.0) == 100.0
    division.heard("a", taken=True)
    assert division.offer("b", 50.0) == 0.0
    assert division.offer("a", 50.0) == 50.0
    assert division.offer("b", 50.0) == 0.0
    division.heard("a", taken=True)
    assert division.offer("b", 50.0) == 50.0


def test_a_lease_of_an_earlier_lessor_counts() -> None:
    """What tenants tell that they hold is not given to others, and does not grow meanwhile."""
    division = Division(100.0)
    division.believed("a", 70.0)
    assert division.offer("b", 50.0) == pytest.approx(30.0)
    assert division.offer("a", 90.0, grows=False) == 70.0


@given(demands=st.dictionaries(TENANTS, st.floats(0, 1000) | st.just(float("inf"))), total=st.floats(0, 1000))
@settings(max_examples=80, deadline=None)
def test_parts_are_fair_and_use_the_whole(demands: dict[str, float], total: float) -> None:
    """All of it is given, and nobody has more than another that was given less than it wants."""
    parts = fair(demands, total)
    assert parts.keys() == demands.keys()
    if not demands:
        return
    assert sum(parts.values()) == pytest.approx(total)
    for tenant, part in parts.items():
        if part < demands[tenant] - 1e-6:
            assert part >= max(parts.values()) - 1e-6 or demands[tenant] == max(demands.values())
