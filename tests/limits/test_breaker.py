"""The circuit breaker through outages, on a clock that is counted by hand."""

import math
from itertools import pairwise

from pipeline.limits.breaker import Breaker


def tripped(now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    while not breaker.is_open:
        breaker.sent()
        breaker.failed(now)
    return breaker


def test_stays_closed_while_answers_come_between_failures() -> None:
    """Single failures among answers never open it."""
    breaker = Breaker()
    for moment in range(50):
        breaker.failed(moment, asker=1)
        breaker.failed(moment, asker=2)
        breaker.answered(sent_at=moment)
    assert not breaker.is_open
    assert breaker.wait_s(50.0) == 0


def test_opens_after_a_run_of_failures() -> None:
    """Eight failures in a row stop everything but a probe, two seconds later."""
    breaker = Breaker()
    for _ in range(7):
        breaker.failed(5.0)
    assert not breaker.is_open
    breaker.failed(5.0)
    assert (breaker.wait_s(5.0), breaker.wait_s(7.0)) == (2.0, 0.0)
    assert (breaker.open_s(5.0), breaker.open_s(65.0)) == (0.0, 60.0)


def test_one_request_that_always_fails_is_no_outage() -> None:
    """Where others have been answered, a second one must fail too before anybody else is held up."""
    breaker = Breaker()
    breaker.answered(sent_at=0.0)
    for moment in range(20):
        breaker.failed(moment, asker=7)
    assert not breaker.is_open
    breaker.failed(20.0, asker=8)
    assert breaker.is_open


def test_answers_to_what_was_sent_before_neither_hinder_nor_close_it() -> None:
    """Slow answers from before the outage come for seconds into it and say nothing of now."""
    breaker = Breaker()
    for moment in range(8):
        breaker.failed(10.0 + moment, asker=moment)
        breaker.answered(sent_at=9.0)
    assert breaker.is_open
    breaker.answered(sent_at=9.5)
    assert breaker.is_open
    breaker.sent()
    breaker.answered(sent_at=9.7)
    assert breaker.is_open


def test_one_probe_at_a_time() -> None:
    """While a probe is under way nobody else goes, however long it takes."""
    breaker = tripped()
    assert breaker.sent() > 0
    assert breaker.wait_s(1000.0) == math.inf


def test_failures_of_what_was_sent_before_do_not_move_the_next_probe() -> None:
    """A hundred requests that were in flight when it opened fail late, and the probe still goes at its time."""
    breaker = tripped(now=0.0)
    for moment in range(100):
        breaker.failed(moment / 100)
    assert breaker.wait_s(2.0) == 0.0


def test_only_the_probe_itself_ends_the_probing() -> None:
    """An old request that fails while a probe is under way does not let a second probe out."""
    breaker = tripped()
    probe = breaker.sent()
    breaker.failed(2.0)
    assert breaker.wait_s(2.0) == math.inf
    breaker.failed(3.0, probe)
    assert breaker.wait_s(3.0) == 4.0


def test_a_probe_of_an_earlier_outage_does_not_end_a_later_probing() -> None:
    """Probes are told apart across outages."""
    breaker = tripped()
    old = breaker.sent()
    breaker.failed(0.5, old)
    breaker.answered(0.6, breaker.sent())
    assert not breaker.is_open
    for asker in range(8):
        breaker.failed(10.0, asker=asker)
    breaker.sent()
    breaker.failed(20.0, old)
    breaker.gone(old)
    breaker.answered(0.5, old)
    assert breaker.wait_s(20.0) == math.inf


def test_a_probe_that_was_given_up_is_replaced() -> None:
    """A cancelled probe tells nothing: another may go at once, and the distance stays."""
    breaker = tripped()
    breaker.gone(breaker.sent())
    assert breaker.wait_s(2.0) == 0.0


def test_an_outage_of_five_minutes_costs_some_fifteen_probes() -> None:
    """Probes come at doubling distances of at most 24 s, and the answer to one opens the way for all."""
    breaker, now, probes = tripped(), 0.0, []
    while now < 300:
        now += breaker.wait_s(now)
        probes.append(now)
        breaker.failed(now, breaker.sent())
    assert len(probes) <= 17
    assert max(later - earlier for earlier, later in pairwise(probes)) <= 24
    now += breaker.wait_s(now)
    breaker.answered(now, breaker.sent())
    assert breaker.wait_s(now) == 0
    assert breaker.sent() == 0


def test_recovers_its_first_distance_after_an_answer() -> None:
    """A second outage is probed as eagerly as the first."""
    breaker = tripped()
    for _ in range(6):
        breaker.failed(0.0, breaker.sent())
    breaker.answered(0.0, breaker.sent())
    for asker in range(8):
        breaker.failed(100.0, asker=asker)
    assert breaker.wait_s(100.0) == 2.0
