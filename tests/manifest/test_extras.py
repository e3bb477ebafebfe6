"""The other columns of csv and jsonl rows, in types that fit them."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import extras_of

from pipeline.manifest.extras import ArrowExtras, infer_extras, text_extras
from pipeline.records import Item

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def columns(*batches: list[Any]) -> list[pa.Array]:
    """One column over several batches, each typed with what is known from those before."""
    known, found = None, []
    for values in batches:
        table = infer_extras([{"c": value} for value in values], ["c"], known)
        known = table.schema
        found.append(table.column(0))
    return found


def last(*batches: list[Any]) -> tuple[pa.DataType, list[Any]]:
    """Type and values of the column's last batch."""
    array = columns(*batches)[-1]
    return array.type, array.to_pylist()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, None], pa.int64()),
        ([1, 0.5], pa.float64()),
        ([True, None], pa.bool_()),
        (["2020-01-01", "x"], pa.string()),
        ([["a"], []], pa.list_(pa.string())),
        ([{"a": 1}, {"b": "x"}], pa.struct({"a": pa.int64(), "b": pa.string()})),
        ([None, None], pa.null()),
    ],
)
def test_json_values_have_the_type_that_they_show(values: list[Any], wanted: pa.DataType) -> None:
    """Numbers are numbers, texts are never taken for dates, fields of objects are gathered."""
    assert last(values)[0] == wanted


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "x"], ["1", "x"]),
        ([1, True], ["1", "true"]),
        ([0.5, True], ["0.5", "true"]),
        ([2**64, 1], [str(2**64), "1"]),
        ([0.5, 2**60 + 1], ["0.5", str(2**60 + 1)]),
        ([{"a": 1}, [1]], ['{"a": 1}', "[1]"]),
        ([{}, {}], ["{}", "{}"]),
        ([{"a": {}}], ['{"a": {}}']),
        ([["\ud800"], ["é"]], ['["\\ud800"]', '["\\u00e9"]']),
        (["\ud800", None], ["\\ud800", None]),
    ],
    ids=repr,
)
def test_values_without_a_common_type_are_json_text(values: list[Any], texts: list[str | None]) -> None:
    """Nothing is rounded, dropped or turned into something else."""
    assert last(values) == (pa.string(), texts)


@pytest.mark.parametrize(
    ("batches", "wanted", "values"),
    [
        (([None], [1]), pa.int64(), [1]),
        (([1], [None]), pa.int64(), [None]),
        (([1], [0.5]), pa.float64(), [0.5]),
        (([0.5], [1]), pa.float64(), [1.0]),
        (([0.5], [2**60 + 1]), pa.string(), [str(2**60 + 1)]),
        (([0.5], [True]), pa.string(), ["true"]),
        (([1], ["x"]), pa.string(), ["x"]),
        (([1], ["x"], [2]), pa.string(), ["2"]),
        (([[]], [["a"]]), pa.list_(pa.string()), [["a"]]),
        (
            ([{"a": 1}], [{"b": "x"}], [{"a": None}]),
            pa.struct({"a": pa.int64(), "b": pa.string()}),
            [{"a": None, "b": None}],
        ),
    ],
    ids=repr,
)
def test_types_go_on_from_batch_to_batch_and_only_widen(
    batches: tuple[list[Any], ...], wanted: pa.DataType, values: list[Any]
) -> None:
    """A column's type changes at most a few times in a manifest, and never at the price of a value."""
    assert last(*batches) == (wanted, values)


def test_a_field_that_a_later_object_brings_is_not_dropped() -> None:
    """Arrow by itself drops fields that a given struct type lacks."""
    assert last([{"a": 1}], [{"a": 2, "b": 3}])[1] == [{"a": 2, "b": 3}]


@settings(deadline=None, max_examples=120)
@given(st.lists(st.lists(JSON_VALUES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_json_reaches_the_dataset(batches: list[list[Any]]) -> None:
    """Whatever comes in whatever order can be stored, and null stays null and nothing else becomes null."""
    for values, array in zip(batches, columns(*batches), strict=True):
        stored = [
            extras_of(Item("", (), extras=ArrowExtras(pa.record_batch([array], names=["c"]), row)))["values"]["c"]
            for row in range(len(array))
        ]
        assert [value is None for value in stored] == [value is None for value in values]


def test_a_row_is_serialised_alone() -> None:
    """What is kept for a row has the row's size, not that of the batch."""
    table = text_extras([{"t": "x" * 100_000}, {"t": "a"}], ["t"])
    assert len(ArrowExtras(table, 1).row_ipc()) < 1000
    assert extras_of(Item("", (), extras=ArrowExtras(table, 1)))["values"] == {"t": "a"}


def test_rows_of_one_batch_have_equal_schemas() -> None:
    """The dataset groups rows by the bytes of their schema."""
    first, second = (ArrowExtras(text_extras([{"t": text}], ["t"]), 0) for text in ("a", "b"))
    assert first.schema_ipc() == second.schema_ipc()
