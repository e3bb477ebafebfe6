"""A worker's side of a lease: what it admits, and what it reports once."""

from pipeline.limits.headers import LimitHeaders
from pipeline.limits.leasing import LaneLease
from pipeline.limits.tenure import Tenure


def test_nothing_is_admitted_without_a_lease_or_after_its_end() -> None:
    """And the lessor hears that something waits."""
    tenure = Tenure()
    assert not tenure.admits(0, 0.0)
    assert tenure.report(0, 0.0).bound == {""}
    tenure.adopt(LaneLease(rates={"requests": 60.0}), 5.0)
    assert tenure.admits(100, 4.9)
    assert not tenure.admits(0, 5.0)


def test_places_bound_what_is_in_flight() -> None:
    """So many and no more."""
    tenure = Tenure()
    tenure.adopt(LaneLease(places=2), 5.0)
    assert tenure.admits(1, 0.0)
    assert not tenure.admits(2, 0.0)


def test_what_was_used_is_told_once_and_what_waits_as_long_as_it_does() -> None:
    """A request that waits for a minute is reported by every beat of that minute."""
    tenure = Tenure()
    tenure.adopt(LaneLease(rates={"requests": 60.0}), 5.0)
    tenure.count({"requests": 1.0, "input": 10.0})
    tenure.count({"requests": 1.0, "input": 5.0})
    tenure.awaits("requests")
    first, second = tenure.report(2, 1.0), tenure.report(2, 1.5)
    assert first.used == {"requests": 2.0, "input": 15.0}
    assert second.used == {}
    assert first.bound == second.bound == {"requests"}
    assert first.held == {"requests": 60.0}
    tenure.count({"requests": 1.0})
    tenure.report(3, 2.0)
    assert tenure.report(3, 6.0).bound == set()
    assert tenure.report(3, 6.0).held == {}


def test_what_the_service_told_is_kept_and_a_pause_counts_down() -> None:
    """Limits that an answer does not tell are as they were told before."""
    tenure = Tenure()
    tenure.heard(LimitHeaders(requests_limit=50, input_limit=1000), known=True)
    tenure.heard(LimitHeaders(requests_limit=60), known=True)
    tenure.paused_until = 3.0
    said = tenure.report(0, 1.0)
    assert said.heard
    assert said.told == {"requests": 60, "input": 1000}
    assert said.pause_s == 2.0
    assert tenure.report(0, 4.0).pause_s == 0.0
