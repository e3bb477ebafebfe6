"""The number of requests in flight: how it grows, and how it steps back."""

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
    places = Places.found(24)
    windows(places, 1)
    assert places.count == 8
    windows(places, 5)
    assert places.count == 24


def test_does_not_grow_while_places_stand_empty() -> None:
    """Answers that come while half the places are free prove nothing."""
    places = Places.found(256)
    for _ in range(100):
        places.answered(1.0, places.count - 1)
    assert places.count == 4


def test_a_burst_of_refusals_is_one_step_back() -> None:
    """Sixty-four refusals of one moment count once, and the number does not collapse."""
    places = Places.found(64)
    windows(places, 4)
    assert places.count == 64
    for left in range(63, -1, -1):
        places.strained(left)
    assert places.count == 44


def test_a_second_burst_is_a_second_step() -> None:
    """Once what was in flight has ended, new refusals count again."""
    places = Places.found(64)
    windows(places, 4)
    for left in (1, 0):
        places.strained(left)
    places.strained(3)
    assert places.count == int(int(64 * 0.7) * 0.7)


def test_grows_by_one_a_window_after_a_step_back() -> None:
    """Additive increase once the edge has been found."""
    places = Places.found(64)
    windows(places, 4)
    places.strained(0)
    before = places.count
    windows(places, 3)
    assert places.count == before + 3


def test_latency_far_above_its_floor_ends_the_growth() -> None:
    """Answers three times slower than an unstrained server gives are a sign of strain."""
    places = Places.found(256)
    windows(places, 3)
    before = places.count
    windows(places, 4, latency_s=10.0)
    assert places.count == before
    windows(places, 1)
    assert places.count == before + 1


def test_never_below_one() -> None:
    """However often it is refused, one request may go."""
    places = Places.found(256)
    for _ in range(50):
        places.strained(0)
    assert places.count == 1
