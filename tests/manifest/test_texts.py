"""Lines, jsonl and txt: every damage costs its own line and is named with it."""

import json
import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ManifestError
from pipeline.manifest.texts import MAX_DEPTH, MAX_LINE_BYTES, BadRow, Lines, jsonl_rows, txt_rows

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def lines(content: bytes) -> Lines:
    """The lines of a file called m."""
    return Lines(BytesIO(content), "m")


def seen(rows: Iterator[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Rows with their lines, bad ones as their reasons."""
    return [(number, row.reason if isinstance(row, BadRow) else row) for number, row in rows]


def nested(depth: int) -> bytes:
    """An object whose lists are nested so that it is of this depth."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), max_size=6))
def test_json_objects_come_back_as_they_were_written(objects: list[dict[str, Any]]) -> None:
    """Whatever json writes, a line each, is read as the same objects with the right lines."""
    content = "".join(json.dumps(each) + "\n" for each in objects).encode()
    assert seen(jsonl_rows(lines(content))) == list(enumerate(objects, 1))


def test_blank_lines_and_a_byte_order_mark_are_passed_over_but_counted() -> None:
    """What is no row still counts as a line, with either line end and without the last."""
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n  \t\n{"a": 2}'
    assert seen(jsonl_rows(lines(content))) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1} {"a": 2}', "Extra data"),
        (b'["a"]', "a JSON list; allowed: an object"),
        (b"null", "a JSON null; allowed: an object"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8 at byte 8"),
        (b'{"a": "\0"}', "NUL"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (nested(MAX_DEPTH + 1), f"deeper than {MAX_DEPTH}"),
        (nested(200_000), f"deeper than {MAX_DEPTH}"),
        (b'{"a": [' + b"{}," * 500_001 + b"1]}", 'more than 500000 times "{"'),
        (b'{"a": [' + b"1," * 3_000_001 + b"1]}", 'more than 3000000 times ","'),
    ],
    ids=lambda value: value[:14] if isinstance(value, bytes) else "",
)
def test_a_damaged_json_line_costs_itself_and_says_why(damage: bytes, said: str) -> None:
    """The rows before and after it are read, and its reason names what is wrong."""
    found = seen(jsonl_rows(lines(b'{"a": 1}\n' + damage + b'\n{"a": 3}\n')))
    assert [found[0], found[2]] == [(1, {"a": 1}), (3, {"a": 3})]
    assert found[1][0] == 2
    assert said in found[1][1]
    assert len(found[1][1]) < 300


def test_json_at_the_greatest_depth_is_read() -> None:
    """Brackets inside texts do not count as depth."""
    text = b'{"a": "' + b"[{" * 200 + b'"}'
    assert seen(jsonl_rows(lines(nested(MAX_DEPTH) + b"\n" + text)))[1] == (2, json.loads(text))
    assert isinstance(seen(jsonl_rows(lines(nested(MAX_DEPTH))))[0][1], dict)


def test_a_field_of_two_megabytes_is_read() -> None:
    """Long texts are rows like others."""
    long = "x," * 1_000_000
    assert seen(jsonl_rows(lines(json.dumps({"a": long}).encode()))) == [(1, {"a": long})]


@pytest.mark.parametrize("over", [1, 5_000_000])
def test_a_line_over_the_cap_costs_itself_alone(over: int) -> None:
    """Nothing of it is read as another row, and the line after it keeps its number."""
    long = b"x" * (MAX_LINE_BYTES + over)
    found = seen(txt_rows(lines(b"a\n" + long + b"\nb\n")))
    assert found == [(1, "a"), (2, f"longer than {MAX_LINE_BYTES} bytes"), (3, "b")]


def test_the_line_after_one_that_just_exceeds_the_cap_is_read() -> None:
    """A line whose end is the first byte over the cap takes no other line with it."""
    found = seen(txt_rows(lines(b"x" * MAX_LINE_BYTES + b"\nb\n")))
    assert [number for number, _ in found] == [1, 2]
    assert found[1] == (2, "b")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_told_by_its_first_bytes(encoding: str) -> None:
    """With and without a byte order mark it is an error of the whole file that says what to do."""
    with pytest.raises(ManifestError, match=r"m:1: UTF-16; .* convert"):
        seen(jsonl_rows(lines('{"a": "b"}\n'.encode(encoding))))


def test_txt_keeps_white_space_inside_lines() -> None:
    """Only line ends and blank lines are dropped: a name may begin or end with a blank."""
    assert seen(txt_rows(lines(b" a b .jpg \r\n\r\n   \nc"))) == [(1, " a b .jpg "), (4, "c")]


def test_txt_names_lines_that_are_no_text() -> None:
    """Bytes that are not UTF-8 and NULs cost their line."""
    found = seen(txt_rows(lines(b"a\n\xe9.jpg\nb\0c\nd")))
    assert found == [(1, "a"), (2, "not UTF-8 at byte 1 of the line"), (3, "holds a NUL character"), (4, "d")]


def test_a_bad_row_keeps_all_its_bytes() -> None:
    """Two bad rows that begin alike are still told apart."""
    rows = [row for _, row in jsonl_rows(lines(b"x" * 5000 + b"1\n" + b"x" * 5000 + b"2\n"))]
    assert [row.raw[-2:] for row in rows if isinstance(row, BadRow)] == [b"1\n", b"2\n"]


def test_lines_say_how_much_was_read_and_when_it_ended() -> None:
    """The counters follow the reading, so that batches can be cut by bytes."""
    source = lines(b"ab\ncd\n")
    steps = [(source.consumed, source.ended) for _ in source]
    assert [*steps, (source.consumed, source.ended)] == [(3, False), (6, False), (6, True)]


def test_lines_of_a_pipe_are_read_while_it_is_written() -> None:
    """A line is handed out before the writer has ended."""
    reading, writing = os.pipe()
    handed_out = threading.Event()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as sink:
            sink.write(b"a\n")
            assert handed_out.wait(30)
            sink.write(b"b\n")

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as source:
        rows = txt_rows(Lines(source, "m"))
        assert next(rows) == (1, "a")
        handed_out.set()
        assert list(rows) == [(2, "b")]
    writer.join()


def test_a_stream_that_fails_is_an_error_with_its_line() -> None:
    """A failing disk ends the manifest, it does not look like its end."""
    with (
        Path("/proc/self/mem").open("rb") as unreadable,
        pytest.raises(ManifestError, match="m:1: cannot be read: Inp"),
    ):
        seen(txt_rows(Lines(unreadable, "m")))
