"""One endpoint: how many may be in flight, what holds a request up, and what an end means for it."""

import math

import pytest

from pipeline.limits.lane import Lane
from pipeline.limits.meters import Need
from pipeline.limits.permits import Permit
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

NEED = Need(image_tokens=100, text_chars=0, max_tokens=100)
TOLD = {"anthropic-ratelimit-requests-limit": "6000", "anthropic-ratelimit-requests-remaining": "6000"}


class Clocked:
    """A lane with a clock that is set by hand."""

    def __init__(self, **limits: object) -> None:
        self.lane = Lane(SettingsLimits(**limits), 1.0, 0.0)  # type: ignore[arg-type]
        self.now = 0.0

    def send(self, asker: int = 0) -> Permit:
        """A request goes out."""
        amounts, probe = self.lane.begin(NEED, self.now)
        permit = Permit(lambda permit, end: self.lane.ended(permit, end, self.now), NEED, amounts, probe)
        permit.asker, permit.sent_at = asker, self.now
        return permit

    def fail(self, times: int) -> list[bool]:
        """So many requests fail, one after the other; whether each belonged to an outage."""
        found = []
        for asker in range(times):
            permit = self.send(asker)
            permit.refused({}, limited_s=None, overloaded=True)
            found.append(permit.in_outage)
        return found


def test_is_alone_until_something_is_known_of_it() -> None:
    """Faults and refused connections tell nothing; an answer or the limits' headers do."""
    it = Clocked(concurrency=32)
    it.send().unsent()
    it.send().refused({}, limited_s=None, overloaded=True)
    assert it.lane.places == 1
    it.send().refused(TOLD, limited_s=0.0, overloaded=False)
    assert it.lane.places == 32


def test_given_limits_need_no_lonely_request() -> None:
    """Nothing is to be learned, so all places are open at once."""
    off = dict.fromkeys(("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute"), "off")
    assert Clocked(**off, concurrency=32).lane.places == 32


def test_failures_in_a_row_leave_one_place_and_wait_for_the_probe() -> None:
    """What found the breaker open is part of an outage and no fault of the item's; what came before it is not."""
    it = Clocked(concurrency=32)
    assert it.fail(8) == [False] * 7 + [True]
    assert it.lane.places == 1
    assert it.lane.wait_s(NEED, it.now) == ("", 2.0)
    it.now = 2.0
    probe = it.send(9)
    assert it.lane.wait_s(NEED, it.now) == ("", math.inf)
    probe.answered(Usage(100, 10), 0.0, TOLD, 1.0)
    assert (it.lane.places, it.lane.breaker.is_open) == (32, False)


def test_an_outage_leaves_the_number_in_flight_as_it_was() -> None:
    """The failures before the breaker opened looked like load; afterwards they are known to be none."""
    it = Clocked()
    it.send().answered(Usage(100, 10), 0.0, {}, 1.0)
    before = it.lane.places
    it.fail(3)
    assert it.lane.places < before
    it.fail(5)
    it.now = 2.0
    it.send().answered(Usage(100, 10), 0.0, {}, 1.0)
    assert it.lane.places == before


def test_one_that_refuses_for_good_takes_nothing_more() -> None:
    """Its places are closed, and no time opens it."""
    it = Clocked(concurrency=8)
    it.send().refused({}, limited_s=None, overloaded=False, retire=True)
    assert it.lane.retired
    assert it.lane.places == 0
    assert it.lane.wait_s(NEED, 1e9) == ("", math.inf)


def test_a_ramp_refusal_pauses_and_then_goes_slower() -> None:
    """Half the rate after the wait that was asked for, and fewer in flight."""
    it = Clocked(requests_per_minute=6000)
    it.send().answered(Usage(100, 10), 0.0, TOLD, 1.0)
    before = it.lane.places
    it.send().refused(TOLD, limited_s=3.0, overloaded=False, ramp=True)
    assert it.lane.paused_s(it.now) == pytest.approx(3.0)
    assert it.lane.places < before
    it.now = 3.0
    sent = 0
    while it.lane.meters.wait_s(it.lane.meters.amounts(NEED), it.now)[1] == 0:
        it.lane.meters.take(it.lane.meters.amounts(NEED), it.now)
        sent += 1
    assert it.lane.meters.wait_s(it.lane.meters.amounts(NEED), it.now)[1] == pytest.approx(0.02, rel=0.15)
    assert sent <= 31
