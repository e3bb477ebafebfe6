"""Permits: each end is told once, with what it says of service and money."""

import pytest

from pipeline.limits.meters import Need
from pipeline.limits.permits import End, Permit, Tells
from pipeline.records import Usage

NEED = Need(10, 10, 10, worst_usd=0.5)


def permitted() -> tuple[Permit, list[End]]:
    """A permit, and where its ends are told."""
    ends: list[End] = []
    return Permit(lambda _, end: ends.append(end), NEED, {}, 0), ends


def test_an_answer_costs_what_it_cost() -> None:
    """A 200 tells that the service answers, with its real price and usage."""
    permit, ends = permitted()
    permit.answered(Usage(1, 2), 0.25, {"a": "b"}, 1.5)
    assert ends == [End(Tells.ANSWERING, 0.25, Usage(1, 2), {"a": "b"}, 1.5)]


@pytest.mark.parametrize(("overloaded", "tells"), [(True, Tells.FAILING), (False, Tells.NOTHING)])
def test_a_lost_request_may_have_cost_the_most(overloaded: bool, tells: Tells) -> None:
    """Money whose fate is unknown counts as spent in full; one that never left as nothing."""
    permit, ends = permitted()
    permit.lost(overloaded=overloaded)
    other, others = permitted()
    other.unsent(overloaded=overloaded)
    assert (ends[0].cost_usd, others[0].cost_usd) == (0.5, 0.0)
    assert ends[0].tells == others[0].tells == tells


@pytest.mark.parametrize(("overloaded", "tells"), [(True, Tells.FAILING), (False, Tells.ANSWERING)])
def test_a_refusal_is_free(overloaded: bool, tells: Tells) -> None:
    """A status that is no 200 costs nothing, and a 429 carries its pause."""
    permit, ends = permitted()
    permit.refused({}, limited_s=7.0, overloaded=overloaded)
    assert (ends[0].cost_usd, ends[0].pause_s, ends[0].tells) == (0.0, 7.0, tells)


def test_a_permit_cannot_end_twice() -> None:
    """A second end is a mistake of ours and is loud, so that money is never settled twice."""
    permit, ends = permitted()
    permit.lost(overloaded=False)
    with pytest.raises(RuntimeError, match="once"):
        permit.answered(None, 0.0, {}, 0.0)
    assert len(ends) == 1
