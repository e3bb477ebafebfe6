"""What a worker and the lessor tell each other: values that travel between processes as they are."""

import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits.leasing import VALID_S, LaneLease, LaneReport, Lease, MoneyReport, Report

RATES = st.dictionaries(st.sampled_from(["requests", "input", "output"]), st.floats(0, 1e9), max_size=3)
REPORTS = st.builds(
    Report,
    ack=st.integers(0),
    lanes=st.lists(st.builds(LaneReport, used=RATES, bound=st.frozensets(st.text(max_size=6)), held=RATES)).map(tuple),
    money=st.builds(MoneyReport, *[st.floats(0, 1e6)] * 4),
)
LEASES = st.builds(
    Lease,
    number=st.integers(1),
    lanes=st.lists(st.builds(LaneLease, rates=RATES, whole=RATES, places=st.none() | st.integers(0))).map(tuple),
    ceiling_usd=st.none() | st.floats(0, 1e6),
)


@given(REPORTS | LEASES)
@settings(deadline=None, max_examples=50)
def test_what_is_told_arrives_as_it_was_sent(told: Report | Lease) -> None:
    """Another process reads every field with its value and its type."""
    arrived = pickle.loads(pickle.dumps(told))
    assert arrived == told
    assert type(arrived) is type(told)


@pytest.mark.parametrize("value", [LaneReport(), MoneyReport(), Report(0, ()), LaneLease(), Lease(1, ())])
def test_what_was_told_cannot_be_changed(value: Any) -> None:
    """Neither by whoever told it, nor by whoever heard it."""
    for each in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, each.name, None)
    assert not hasattr(value, "__dict__")


def test_reports_and_leases_share_nothing_that_grows() -> None:
    """What is noted in one is in no other."""
    one = LaneReport()
    one.used["requests"] = 1.0
    one.held["requests"] = 60.0
    assert LaneReport() == LaneReport(used={}, held={})
    part = LaneLease()
    part.rates["requests"] = 60.0
    assert LaneLease().rates == LaneLease().whole == {}


def test_a_lease_outlives_several_reports() -> None:
    """A worker whose report is lost, or comes late, goes on until the next."""
    lease = Lease(1, (LaneLease(),))
    assert lease.valid_s == VALID_S >= 4 * lease.next_s > 0
    assert lease.more
    assert lease.ceiling_usd is None
