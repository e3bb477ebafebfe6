"""The lessor: limits in sum, a single first request, pauses for all, and a successor that knows nothing."""

from typing import Any

import pytest

from pipeline.limits.leasing import VALID_S, LaneReport, Lease, MoneyReport, Report
from pipeline.limits.lessor import Lessor
from pipeline.settings import SettingsLimits


class Staff:
    """Tenants of a lessor, which go by every lease that they get."""

    def __init__(self, lessor: Lessor) -> None:
        self.lessor = lessor
        self.leases: dict[str, Lease] = {}

    def beat(self, name: str, now: float, *, money: MoneyReport | None = None, **lane: Any) -> Lease:
        """One report and its answer."""
        before = self.leases.get(name)
        held = before.lanes[0].rates if before is not None else {}
        report = Report(before.number if before else 0, (LaneReport(held=held, **lane),), money or MoneyReport())
        self.leases[name] = self.lessor.report(name, report, now)
        return self.leases[name]

    def rate(self, name: str) -> float:
        """Requests a minute that a tenant may send."""
        return self.leases[name].lanes[0].rates.get("requests", 0.0)


def given(**limits: Any) -> Lessor:
    """A lessor of such limits, the others off."""
    off = {"requests_per_minute": "off", "input_tokens_per_minute": "off", "output_tokens_per_minute": "off"}
    return Lessor(SettingsLimits(**{**off, **limits}))


BUSY = frozenset({"requests"})


def test_tenants_share_a_limit_and_a_new_one_gets_its_part_within_two_beats() -> None:
    """The first has all of it until there is a second; nobody's part is given twice."""
    staff = Staff(given(requests_per_minute=600, share=0.5))
    assert staff.beat("a", 0.0, bound=BUSY).lanes[0].rates == {"requests": 300.0}
    staff.beat("b", 0.1, bound=BUSY)
    assert staff.rate("b") == 0.0
    for turn in range(1, 4):
        for name in ("a", "b"):
            staff.beat(name, 0.5 * turn, bound=BUSY)
        assert staff.lessor.in_force("requests") <= 300.0 + 1e-6
    assert staff.rate("a") == staff.rate("b") == pytest.approx(150.0)


def test_what_one_does_not_use_goes_to_those_that_wait() -> None:
    """And comes back when it waits itself."""
    staff = Staff(given(requests_per_minute=600))
    for turn in range(60):
        staff.beat("idle", 0.5 * turn, used={"requests": 0.1})
        staff.beat("busy", 0.5 * turn, bound=BUSY)
    assert staff.rate("busy") > 500
    for turn in range(60, 66):
        for name in ("idle", "busy"):
            staff.beat(name, 0.5 * turn, bound=BUSY)
    assert staff.rate("idle") == pytest.approx(300.0)


def test_a_tenant_that_is_not_heard_of_loses_its_lease_and_nothing_is_lost() -> None:
    """Once its lease has run out the others have the whole limit."""
    staff = Staff(given(requests_per_minute=600))
    for turn in range(4):
        for name in ("a", "b"):
            staff.beat(name, 0.5 * turn, bound=BUSY)
    for turn in range(4, 8):
        staff.beat("a", 0.5 * turn, bound=BUSY)
    assert staff.rate("a") == pytest.approx(300.0)
    for turn in range(8, 20):
        staff.beat("a", 0.5 * turn, bound=BUSY)
    assert staff.rate("a") == pytest.approx(600.0)
    assert staff.lessor.tenants == 1


def test_a_tenant_that_leaves_gives_back_at_once() -> None:
    """Without waiting for its lease to run out."""
    staff = Staff(given(requests_per_minute=600))
    for turn in range(4):
        for name in ("a", "b"):
            staff.beat(name, 0.5 * turn, bound=BUSY)
    staff.lessor.leave("b", 0.0)
    staff.beat("a", 2.1, bound=BUSY)
    assert staff.rate("a") == pytest.approx(600.0)


def test_limits_that_are_learned_begin_with_one_request_of_one_tenant() -> None:
    """The others wait; what its answer tells is divided, and limits that were not told do not bind."""
    staff = Staff(Lessor(SettingsLimits(share=0.5)))
    waits = frozenset({""})
    assert [staff.beat(name, 0.0, bound=frozenset()).lanes[0].places for name in ("a", "b")] == [0, 0]
    assert [staff.beat(name, 0.5, bound=waits).lanes[0].places for name in ("b", "a")] == [1, 0]
    for turn in range(12):
        assert staff.beat("b", 1.0 + turn, in_flight=1).lanes[0].places == 1
        assert staff.beat("a", 1.0 + turn, bound=waits).lanes[0].places == 0
    staff.beat("b", 13.0, heard=True, told={"requests": 1000})
    staff.beat("a", 13.1, bound=waits)
    lease = staff.beat("b", 13.5, heard=True, told={"requests": 1000}, bound=BUSY).lanes[0]
    assert lease.known
    assert lease.places is None
    assert lease.whole == {"requests": 500.0}
    assert 0 < staff.rate("b") <= 500.0


def test_places_in_flight_are_divided_in_whole_numbers() -> None:
    """Three tenants share four places and never have more in sum; one that has nothing to do has none."""
    staff = Staff(given(concurrency=4))
    for turn in range(6):
        for name in ("a", "b", "c"):
            staff.beat(name, 0.5 * turn, bound=frozenset({""}), in_flight=0)
        taken = [lease.lanes[0].places or 0 for lease in staff.leases.values()]
        assert sum(taken) <= 4
    assert sorted(taken) == [1, 1, 2] or sorted(taken) == [0, 2, 2]
    for turn in range(6, 10):
        staff.beat("a", 0.5 * turn)
        staff.beat("b", 0.5 * turn, bound=frozenset({""}))
    assert staff.leases["a"].lanes[0].places == 0


def test_a_pause_that_one_was_asked_for_holds_for_all() -> None:
    """It counts down, and is over for everybody at the same time."""
    staff = Staff(given(requests_per_minute=600))
    staff.beat("a", 0.0, pause_s=3.0)
    assert staff.beat("b", 1.0).lanes[0].pause_s == pytest.approx(2.0)
    assert staff.beat("b", 4.0).lanes[0].pause_s == 0.0


def test_a_successor_gives_nothing_away_that_may_be_in_force() -> None:
    """Tenants of the lessor before keep what they tell; new ones wait until every old lease has run out."""
    old = Staff(given(requests_per_minute=600))
    for turn in range(4):
        for name in ("a", "b"):
            old.beat(name, 0.5 * turn, bound=BUSY)
    off = {"input_tokens_per_minute": "off", "output_tokens_per_minute": "off"}
    new = Staff(Lessor(SettingsLimits(requests_per_minute=600, **off), since=2.0, first=10**6))  # type: ignore[arg-type]
    new.leases = dict(old.leases)
    new.beat("a", 2.1, bound=BUSY)
    assert new.rate("a") == pytest.approx(300.0)
    new.beat("new", 2.2, bound=BUSY)
    assert new.rate("new") == 0.0
    for turn in range(int(2 * VALID_S) + 6):
        for name in ("a", "new"):
            new.beat(name, 2.5 + 0.5 * turn, bound=BUSY)
            assert new.lessor.in_force("requests") <= 600.0 + 1e-6
    assert new.rate("a") == new.rate("new") == pytest.approx(300.0)


def test_money_is_told_with_the_lease() -> None:
    """A tenant that waits gets what it needs, and what a dead one spent is known in the end."""
    staff = Staff(given(budget_usd=1.0))
    ceiling_usd = staff.beat("a", 0.0, money=MoneyReport(0, 0, 0.4, 0.4)).ceiling_usd
    assert ceiling_usd is not None
    assert 0.4 <= ceiling_usd <= 1.0
    staff.beat("a", 0.5, money=MoneyReport(0.0, 0.4, 0.0, 0.4))
    staff.lessor.lost("a", 0.2, 1)
    assert staff.lessor.purse.spent_usd == pytest.approx(0.2 + 0.4)
    assert not staff.beat("b", 1.0, money=MoneyReport(0, 0, 0.5, 0.5)).more
    assert staff.beat("b", 1.5, money=MoneyReport(0, 0, 0.4, 0.5)).more


def test_many_tenants_report_less_often() -> None:
    """One process answers them all."""
    staff = Staff(given(requests_per_minute=600))
    few = staff.beat("0", 0.0).next_s
    for number in range(1000):
        many = staff.beat(str(number), 0.1).next_s
    assert few < many <= VALID_S / 2
