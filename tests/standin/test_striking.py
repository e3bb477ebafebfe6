"""Which request of which place is struck."""

from pipeline.standin.faults import parse_fault
from pipeline.standin.striking import Strikes


def test_each_place_counts_by_itself() -> None:
    """The second poll is not the second call."""
    strikes = Strikes(lambda: [parse_fault("get/500:at=2"), parse_fault("create/529:at=1")])
    struck = [strikes.next(place) for place in ("create", "get", "list", "get", "get")]
    assert [fault and fault.name for fault in struck] == ["create/529", None, None, "get/500", None]


def test_an_outage_counts_from_the_first_request_to_its_place() -> None:
    """Requests elsewhere do not begin it."""
    now = [0.0]
    strikes = Strikes(lambda: [parse_fault("get/500:during=10")], lambda: now[0])
    strikes.next("list")
    now[0] = 100.0
    assert strikes.next("get") is not None
    now[0] = 109.0
    assert strikes.next("get") is not None
    now[0] = 110.0
    assert strikes.next("get") is None


def test_the_faults_in_force_are_asked_for_each_time_and_the_first_one_strikes() -> None:
    """They may be replaced while the server runs; numbers go on."""
    faults = [parse_fault("500:match=red"), parse_fault("529")]
    strikes = Strikes(lambda: faults)
    assert [getattr(strikes.of("messages", 1, body), "name", None) for body in (b"red", b"blue")] == ["500", "529"]
    faults.clear()
    assert strikes.of("messages", 2, b"red") is None
