"""The number of requests in flight: how it grows, and how it steps back."""

import random

import pytest

from pipeline.limits.places import Places


def windows(places: Places, count: int, latency_s: float = 1.0) -> None:
    """So many windows of answers, with every place taken."""
    for _ in range(count):
        for _ in range(places.count):
            places.answered(latency_s, places.count)


def test_a_given_number_stays() -> None:
    """Neither answers nor refusals change what the user set."""
    places = Places.fixed(12)
    windows(places, 5)
    places.strained(12)
    assert places.count == 12


def test_doubles_with_every_calm_window_up_to_its_most() -> None:
    """Slow start: 4, 8, 16, and never above the bound."""
    places, seen = Places.found(24), []
    while places.count < 24:
        windows(places, 1)
        seen.append(places.count)
    assert list(dict.fromkeys(seen))[:2] in ([4, 8], [8, 16])
    windows(places, 10)
    assert places.count == 24


def test_does_not_grow_while_places_stand_empty() -> None:
    """Answers that come while half the places are free prove nothing."""
    places = Places.found(256)
    for _ in range(100):
        places.answered(1.0, places.count - 1)
    assert places.count == 4


def grown(most: int) -> Places:
    """Places that have grown to their most."""
    places = Places.found(most)
    while places.count < most:
        windows(places, 1)
    places.settling = 0
    return places


def test_a_burst_of_refusals_is_one_step_back() -> None:
    """Sixty-four refusals of one moment count once, and the number does not collapse."""
    places = grown(64)
    for left in range(63, -1, -1):
        places.strained(left)
    assert places.count == 44


def test_a_second_burst_is_a_second_step() -> None:
    """Once what was in flight has ended, new refusals count again."""
    places = grown(64)
    for left in (1, 0):
        places.strained(left)
    places.strained(3)
    assert places.count == int(int(64 * 0.7) * 0.7)


def test_an_outage_is_not_taken_for_load() -> None:
    """The number of before comes back whole, and grows as at the start."""
    places = grown(64)
    for _ in range(5):
        places.strained(0)
    places.restore(64)
    assert (places.count, places.slow_start) == (64, True)


def simulated(places: Places, slots: float, base_s: float, rounds: int, seed: int = 1) -> None:
    """A server with so many slots: what is above them queues, so that latency grows and throughput does not."""
    chance = random.Random(seed)
    for _ in range(rounds):
        for _ in range(places.count):
            latency = base_s * max(1.0, places.count / slots) * chance.uniform(0.5, 1.5)
            places.answered(latency, places.count)


@pytest.mark.parametrize("slots", [3, 8, 24, 100])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_finds_the_knee_and_stays_near_it(slots: int, seed: int) -> None:
    """Enough in flight for the whole throughput, and latency less than doubled, for a long time."""
    places, seen = Places.found(256), []
    simulated(places, slots, 1.0, 40, seed)
    for step in range(400):
        simulated(places, slots, 1.0, 1, 1000 * seed + step)
        seen.append(places.count)
    assert sum(min(count, slots) for count in seen) / len(seen) >= 0.85 * slots
    assert sum(seen) / len(seen) <= 2.0 * slots + 2


def test_follows_a_server_that_becomes_slower_or_faster() -> None:
    """Half the slots halve the number sooner or later; work that takes longer by itself does not shrink it to one."""
    places = Places.found(256)
    simulated(places, 64, 1.0, 60)
    simulated(places, 16, 1.0, 400)
    assert 12 <= places.count <= 27
    simulated(places, 64, 8.0, 400)
    assert 50 <= places.count <= 100


def test_announced_limits_pace_and_not_latency() -> None:
    """A service that tells its limits is asked by so many as these need, however slow its answers are."""
    places = Places.found(256)
    places.announced()
    assert places.count == 16
    for latency_s in (0.2, 3.0, 9.0, 30.0, 60.0):
        windows(places, 1, latency_s)
    assert places.count == 256


def test_never_below_one() -> None:
    """However often it is refused, one request may go."""
    places = Places.found(256)
    for _ in range(50):
        places.strained(0)
    assert places.count == 1
