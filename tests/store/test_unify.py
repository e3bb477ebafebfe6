"""Columns of different types brought together."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.unify import in_common


def unified(*arrays: pa.Array) -> pa.ChunkedArray:
    """The arrays as one column; fails unless all have one type and their old lengths."""
    together = in_common(arrays)
    assert [len(one) for one in together] == [len(one) for one in arrays]
    return pa.chunked_array(together)


def test_equal_types_are_left_alone() -> None:
    """The usual case: one manifest, one type."""
    one = pa.array([{"a": 1}, None])
    assert unified(one, one).type == one.type
    assert unified(one, one).to_pylist() == [{"a": 1}, None, {"a": 1}, None]


def test_structs_are_joined_by_field() -> None:
    """A field that one part has not is null there; null structs stay null."""
    column = unified(pa.array([{"a": 1, "b": "x"}, None]), pa.array([{"c": 2.5, "a": 7}]), pa.nulls(1))
    assert column.to_pylist() == [
        {"a": 1, "b": "x", "c": None},
        None,
        {"a": 7, "b": None, "c": 2.5},
        None,
    ]


def test_numbers_and_times_are_widened() -> None:
    """As Arrow widens them, without loss."""
    assert unified(pa.array([1], pa.int32()), pa.array([2], pa.int64())).type == pa.int64()
    assert unified(pa.array([1]), pa.array([0.5])).to_pylist() == [1.0, 0.5]
    assert unified(pa.nulls(2), pa.array(["x"])).to_pylist() == [None, None, "x"]


def test_what_has_no_common_type_becomes_its_json_text() -> None:
    """Texts stay as they are, so that the common case of a number read as text agrees with itself."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    column = unified(pa.array([1, None]), pa.array(["one"]), pa.array([[1, 2]]), pa.array([moment]))
    assert column.to_pylist() == ["1", None, "one", "[1, 2]", json.dumps(str(moment))]


def test_only_the_field_in_conflict_becomes_text() -> None:
    """Its neighbours in the struct keep their types."""
    column = unified(pa.array([{"n": 1, "k": 1}]), pa.array([{"n": 2, "k": "a"}]))
    assert column.type == pa.struct([("n", pa.int64()), ("k", pa.string())])
    assert column.to_pylist() == [{"n": 1, "k": "1"}, {"n": 2, "k": "a"}]


def test_a_number_that_the_wider_type_cannot_hold_is_not_rounded() -> None:
    """Whole numbers beyond the precision of a double are kept as text, digit by digit."""
    exact = 2**60 + 1
    column = unified(pa.array([exact]), pa.array([0.5]))
    assert column.to_pylist() == [str(exact), "0.5"]


VALUES = [
    pa.array([1, None]),
    pa.array(["x"]),
    pa.array([1.5]),
    pa.array([True]),
    pa.array([b"x"]),
    pa.array([[1], []]),
    pa.array([{"a": 1}]),
    pa.array([{"a": "x", "b": [{"c": 1}]}, None]),
    pa.array([{"b": [{"c": "y"}]}]),
    pa.array([datetime(2026, 1, 2, tzinfo=UTC)]),
    pa.nulls(2),
    pa.array(["x", "x"]).dictionary_encode(),
]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
def test_any_columns_can_be_brought_together(arrays: list[pa.Array]) -> None:
    """No mixture of parts can keep a reader from the rest, and nulls stay nulls."""
    column: Any = unified(*arrays)
    assert column.null_count == sum(array.null_count for array in arrays)


@pytest.mark.parametrize("empty", [[], [pa.nulls(0)], [pa.array([], pa.int64()), pa.array([], pa.string())]])
def test_no_rows_are_no_trouble(empty: list[pa.Array]) -> None:
    """Empty columns of any type come back empty."""
    assert [len(one) for one in in_common(empty)] == [0] * len(empty)
