"""The words of faults: selectors, settings, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.faults import NAMES, Fault, parse_fault
from pipeline.standin.misfortunes import Status

OF_BATCHES = {"expired", "canceled", "elsewhere", "small_pages"}


def struck(text: str, count: int = 10, body: bytes = b"") -> list[int]:
    """Which of the first requests a fault strikes."""
    fault = parse_fault(text)
    return [number for number in range(1, count + 1) if fault.strikes(number, body)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("reset", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("reset:first=3", [1, 2, 3]),
        ("reset:until=2", [1, 2]),
        ("reset:at=4", [4]),
        ("reset:every=4", [4, 8]),
        ("reset:after=8", [9, 10]),
        ("reset:after=2,every=3,until=8", [3, 6]),
        ("reset:share=0", []),
        ("reset:share=1", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_selectors_choose_requests_by_number(text: str, numbers: list[int]) -> None:
    """Requests count from 1, and several conditions must all hold."""
    assert struck(text) == numbers


def test_a_match_looks_into_the_body() -> None:
    """Text of the body selects too, commas included."""
    assert parse_fault("reset:match=red, green").strikes(1, b"a red, green picture")
    assert not parse_fault("reset:match=red, green").strikes(1, b"a red picture, green")


def test_during_counts_from_the_first_request() -> None:
    """An outage of some seconds ends by itself."""
    fault = parse_fault("529:during=2.5")
    assert fault.strikes(7, b"", 2.4)
    assert not fault.strikes(8, b"", 2.5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9))
def test_a_share_is_about_that_part_and_always_the_same_one(tenths: int) -> None:
    """Over many requests the part is met, two servers agree, and a larger share holds the smaller one."""
    chosen = struck(f"reset:share=0.{tenths}", 2000)
    assert abs(len(chosen) / 2000 - tenths / 10) < 0.05
    assert set(chosen) <= set(struck(f"reset:share={(tenths + 1) / 10}", 2000))


def test_shares_of_different_faults_within_batches_are_drawn_independently() -> None:
    """Five per cent errors and three per cent expiries are both met: neither hides within the other."""
    faults = [parse_fault("item/529:share=0.05"), parse_fault("item/expired:share=0.03")]
    errors, expiries = ({n for n in range(5000) if fault.strikes(n, b"", 0.0, "item")} for fault in faults)
    assert abs(len(errors) - 250) < 60
    assert abs(len(expiries - errors) - 143) < 50


@pytest.mark.parametrize("value", ["7", "0", "-3", "1e9", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "1,5"])
def test_a_retry_after_is_sent_as_it_is_written(value: str) -> None:
    """Seconds, dates with their comma, and garbage."""
    fault = parse_fault(f"429:retry_after={value},first=2")
    assert isinstance(fault.misfortune, Status)
    assert fault.misfortune.refuse().headers["retry-after"] == value
    assert fault.counts == {"first": 2}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("earthquake", "earthquake"),
        ("429:frist=3", "frist"),
        ("reset:seconds=3", "seconds"),
        ("slow:seconds=long", "seconds=long"),
        ("slow:seconds=inf", "seconds=inf"),
        ("reset:at=0", "at=0"),
        ("reset:at=-1", "at=-1"),
        ("reset:at=1.5", "at=1.5"),
        ("reset:at=²", "at=²"),
        ("reset:at", '"at"'),
        ("reset:at=1,at=2", "at=2"),
        ("html:status=no", "status=no"),
    ],
)
def test_a_misspelt_fault_is_refused_by_what_is_wrong(text: str, word: str) -> None:
    """A typo must not strike every request: names, keys and values are checked."""
    with pytest.raises(ValueError, match="allowed") as caught:
        parse_fault(text)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "numbers"), [("create/529:at=2", []), ("item/529:every=3,until=6", []), ("messages/529:at=2", [2])]
)
def test_a_fault_strikes_at_its_place_alone(text: str, numbers: list[int]) -> None:
    """Without one that is `POST /v1/messages`."""
    assert struck(text) == numbers
    fault = parse_fault(text)
    assert any(fault.strikes(number, b"", 0.0, fault.place) for number in range(1, 10))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nowhere/529", "nowhere"),
        ("create/nothing", "nothing"),
        ("expired", "item"),
        ("get/expired", "item"),
        ("create/small_pages", "list"),
        ("results/elsewhere", "get"),
        ("item/reset", "nothing to a request"),
        ("item/slow:seconds=2", "nothing to a request"),
        ("item/truncated", "nothing to a request"),
        ("item/black_hole", "nothing to a request"),
    ],
)
def test_a_fault_where_it_would_do_nothing_is_refused(text: str, word: str) -> None:
    """A script that has no effect is a mistake."""
    with pytest.raises(ValueError, match="fault") as caught:
        parse_fault(text)
    assert word in str(caught.value)


def test_a_name_tells_its_place() -> None:
    """As it was written."""
    assert [parse_fault(text).name for text in ("529", "messages/529", "item/expired")] == [
        "529",
        "529",
        "item/expired",
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_BATCHES])
def test_every_misfortune_does_something_by_itself(name: str) -> None:
    """Each name parses without settings, and either refuses or delivers; those of batches alone are not among them."""
    fault = parse_fault(name)
    assert isinstance(fault, Fault)
    assert fault.name == name
    assert (fault.misfortune.refuse() is None) != (fault.misfortune.deliver() is None)


def test_the_catalogue_holds_every_fault_that_is_asked_for() -> None:
    """The misfortunes of network and API that the project's catalogue of faults names can all be scripted."""
    assert {
        *("429", "spend_stop", "500", "503", "504", "529", "400", "401", "402", "403", "404", "413", "edge_413"),
        *("close", "reset", "lost_answer", "reset_mid_body", "reset_after_body", "half_open", "black_hole"),
        *("truncated", "drip", "slow", "endless", "html", "empty", "garbled", "nested", "wrong_types", "huge_usage"),
        *("no_usage", "empty_text", "thinking_only", "unknown_block", "refusal", "redirect"),
    } <= set(NAMES)
