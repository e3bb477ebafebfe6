"""Text for terminals: safe, short, and rounded as people read it."""

import io
import sys
from contextlib import redirect_stderr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.faces.plain import counted, duration, money, safe_line, write_aside


@given(st.text())
def test_a_safe_line_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """Whatever a manifest holds, the line is printable and is one."""
    assert safe_line(text).isprintable()


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=300))
def test_what_is_printable_already_stays_as_it_is(text: str) -> None:
    """Captions are not garbled."""
    assert safe_line(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj", "\\u202egpj"),
        ("\udc80", "\\udc80"),
        ("Zoë 写真", "Zoë 写真"),
    ],
)
def test_control_characters_are_shown_as_their_escapes(text: str, shown: str) -> None:
    """Escape codes of both kinds, line ends, text that runs backwards, and half surrogate pairs."""
    assert safe_line(text) == shown


def test_a_long_line_is_cut_and_says_so() -> None:
    """One item id of 64 KB does not fill the screen."""
    assert safe_line("x" * 41, 40) == "x" * 40 + "..."
    assert safe_line("x" * 40, 40) == "x" * 40


@pytest.mark.parametrize(("number", "text"), [(0, "0 items"), (1, "1 item"), (1234567, "1,234,567 items")])
def test_counts_agree_with_their_noun(number: int, text: str) -> None:
    """One is singular, thousands are set apart."""
    assert counted(number, "item") == text


@pytest.mark.parametrize(
    ("usd", "text"), [(0, "$0.0000"), (0.00123, "$0.0012"), (99.5, "$99.5000"), (1234.567, "$1,234.57")]
)
def test_small_sums_show_fractions_of_a_cent(usd: float, text: str) -> None:
    """A caption costs less than a cent, a month costs thousands of dollars."""
    assert money(usd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.14, "8.1 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (125, "2:05"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
    ],
)
def test_durations_carry_into_the_next_unit(seconds: float, text: str) -> None:
    """Never 60.0 s or 59:60."""
    assert duration(seconds) == text


def test_lines_aside_are_safe_each() -> None:
    """Line ends of the message part it, escape codes in it do nothing."""
    with redirect_stderr(io.StringIO()) as sink:
        write_aside("one\n  two\x1b[2J")
    assert sink.getvalue() == "one\n  two\\x1b[2J\n"


def test_a_closed_standard_error_is_no_fault() -> None:
    """Nobody is there to be told."""
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        before, sys.stderr = sys.stderr, stream  # type: ignore[assignment]
        try:
            write_aside("gone")
        finally:
            sys.stderr = before
