"""Durations: what people write, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.durations import parse_duration, parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("55m", 3300),
        ("1h30m", 5400),
        (" 1H 30M ", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
        ("1.5h", 5400),
        ("0.5", 0.5),
        ("0h1s", 1),
    ],
)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    """Units are days, hours, minutes and seconds, in capitals and with spaces too; a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "0s",
        "-5",
        "-5m",
        "h",
        "5x",
        "m5",
        "1 0m",
        "30m1h",
        "1h1h",
        "1e3",
        "inf",
        "nan",
        "5m!",
        "٣m",
        "9" * 400,
    ],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    """Nothing, zero, a negative or endless time, and units that repeat or stand in the wrong order are errors."""
    with pytest.raises(ValueError, match="allowed: a duration such as 55m, 1h30m, 90s") as caught:
        parse_duration(text)
    assert f'found "{text}"' in str(caught.value)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
@settings(deadline=None, max_examples=100)
def test_parts_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    """A duration is the sum of its parts."""
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == total


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00:00", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00:00+02:00", datetime(2026, 11, 24, 10, tzinfo=timezone(timedelta(hours=2)))),
        ("soon", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_a_moment_of_an_answer_is_read_or_is_none(value: object, moment: datetime | None) -> None:
    """What a server writes there is never a fault of the run."""
    assert parse_moment(value) == moment
