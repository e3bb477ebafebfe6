"""Csv and tsv: rows over several lines, stray quotes, and where each row stands."""

import csv
from io import BytesIO, StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.delimited import MAX_QUOTED_LINES, csv_rows
from pipeline.manifest.texts import BadRow, Lines

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
Seen = list[tuple[int, list[str] | str]]


def seen(content: bytes, delimiter: str = ",") -> Seen:
    """Rows with their lines, bad ones as their reasons."""
    rows = csv_rows(Lines(BytesIO(content), "m.csv"), delimiter)
    return [(number, row.reason if isinstance(row, BadRow) else row) for number, row in rows]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(FIELDS, min_size=2, max_size=4), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_rows_come_back_as_they_were_written(rows: list[list[str]], end: str) -> None:
    """Whatever the csv module writes is read as the same fields, with the lines that the rows begin on."""
    sink = StringIO(newline="")
    writer = csv.writer(sink, lineterminator=end, quoting=csv.QUOTE_ALL)
    starts = []
    for row in rows:
        starts.append(sink.getvalue().count("\n") + 1)
        writer.writerow(row)
    assert seen(sink.getvalue().encode()) == list(zip(starts, rows, strict=True))


def test_rows_after_a_quoted_line_end_have_the_right_lines() -> None:
    """A row is named by the line that it begins on, blank lines counted."""
    assert seen(b'id,t\r\n1,"a\r\nb\r\nc"\r\n\r\n2,d\r\n') == [
        (1, ["id", "t"]),
        (2, ["1", "a\r\nb\r\nc"]),
        (6, ["2", "d"]),
    ]


def test_tsv_is_separated_by_tabs() -> None:
    """Commas are text there."""
    assert seen(b"a\tb,c\n", "\t") == [(1, ["a", "b,c"])]


def test_an_empty_quoted_field_is_a_row_and_a_blank_line_is_none() -> None:
    """White space alone is no row of one column."""
    assert seen(b'a\n""\n  \n\n" "\n') == [(1, ["a"]), (2, [""]), (5, [" "])]


def test_a_quote_that_is_closed_rows_later_costs_its_row_alone() -> None:
    """The rows that it would have swallowed are read."""
    found = seen(b'1,"a\n2,b\n3,"c"\n4,d\n')
    assert found[1:] == [(2, ["2", "b"]), (3, ["3", "c"]), (4, ["4", "d"])]
    assert found[0][0] == 1
    assert "quoted field is opened here and never closed" in found[0][1]


def test_a_quote_that_is_never_closed_costs_its_row_alone() -> None:
    """The end of the file is reached, the reason is told, and the rows after the quote are read."""
    found = seen(b'1,a\n2,"b\n3,c\n4,d')
    assert [found[0], *found[2:]] == [(1, ["1", "a"]), (3, ["3", "c"]), (4, ["4", "d"])]
    assert found[1][0] == 2
    assert "never closed" in found[1][1]


def test_an_open_quote_in_a_long_file_is_found_within_a_bound() -> None:
    """A row over too many lines has lost its quote: it is named, and every row after it is read."""
    rows = b"".join(b"%d,x\n" % number for number in range(3 * MAX_QUOTED_LINES))
    found = seen(b'0,"x\n' + rows)
    assert f"not within {MAX_QUOTED_LINES} lines" in found[0][1]
    assert found[1:] == [(number + 2, [str(number), "x"]) for number in range(3 * MAX_QUOTED_LINES)]


def test_a_field_may_span_lines_up_to_the_bound() -> None:
    """One line fewer than the bound is a row."""
    text = "x\n" * (MAX_QUOTED_LINES - 1)
    assert seen(f'1,"{text}"\n2,b\n'.encode()) == [(1, ["1", text]), (MAX_QUOTED_LINES + 1, ["2", "b"])]


def test_text_after_a_closing_quote_costs_the_row() -> None:
    """The strict reader does not guess what was meant."""
    found = seen(b'1,"a"b\n2,c\n')
    assert found[0] == (1, "not valid csv: ',' expected after '\"'")
    assert found[1] == (2, ["2", "c"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [(b"\xff", "not UTF-8 at byte 4"), (b"\0", "NUL"), (b'"b\n\xff"', "line 3: not UTF-8 at byte 1")],
)
def test_what_is_no_text_costs_its_row_to_its_closing_quote(damage: bytes, said: str) -> None:
    """A row over several lines is one bad row, named by its first line, with the line of the damage in the reason."""
    found = seen(b"1,a\n2,a" + damage + b"\n3,c\n" if b'"' not in damage else b"1,a\n2," + damage + b"\n3,c\n")
    assert found[0] == (1, ["1", "a"])
    assert found[1][0] == 2
    assert said in found[1][1]
    assert [row for _, row in found[2:]] == [["3", "c"]]


def test_lines_that_end_in_carriage_returns_alone_are_named() -> None:
    """The line ends of very old systems are an error with a line, not one row of everything."""
    found = seen(b"id,image\r1,a\r2,b\r")
    assert found[0][0] == 1
    assert "not valid csv" in found[0][1]


def test_a_field_of_two_megabytes_is_read() -> None:
    """Quoted or not, a long field is a field."""
    long = "y" * 2_000_000
    assert seen(f'1,{long}\n2,"{long}"\n'.encode()) == [(1, ["1", long]), (2, ["2", long])]


def test_a_line_of_millions_of_fields_costs_itself() -> None:
    """It is not taken apart, since that would need a hundred times its size."""
    found = seen(b"1,a\n" + b"," * 3_000_001 + b"\n2,b\n")
    assert found == [(1, ["1", "a"]), (2, 'more than 3000000 times ","'), (3, ["2", "b"])]
