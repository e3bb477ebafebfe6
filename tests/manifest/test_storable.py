"""Arrow types on their way to the dataset."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from support.manifests import extras_of

from pipeline.errors import ManifestError
from pipeline.manifest.extras import ArrowExtras
from pipeline.manifest.storable import MAX_DEPTH, storable, stored_type
from pipeline.records import Item

DICTIONARY = pa.dictionary(pa.int8(), pa.string())
NO_FIELDS: list[pa.Field] = []


def carried(column: pa.Array) -> tuple[pa.DataType, list[Any]]:
    """A column after its journey to a Parquet file, row by row."""
    batch = pa.record_batch([column], names=["c"])
    rows = [extras_of(Item("", (), extras=extras)) for extras in ArrowExtras.of(batch, ["c"])]
    return rows[0]["types"]["c"], [row["values"]["c"] for row in rows]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (pa.bool_(), [True, None]),
        (pa.uint8(), [0, 255]),
        (pa.float32(), [0.5, None]),
        (pa.float16(), [0.5]),
        (pa.large_string(), ["a", ""]),
        (pa.large_binary(), [b"\0", None]),
        (pa.binary(2), [b"ab"]),
        (pa.decimal128(38, 9), [Decimal("1.000000001")]),
        (pa.decimal256(60, 2), [Decimal("1.05")]),
        (pa.timestamp("us", "Europe/Zurich"), [None]),
        (pa.timestamp("ns"), [None]),
        (pa.date32(), [None]),
        (pa.time64("us"), [None]),
        (pa.duration("ms"), [None]),
        (pa.list_(pa.int16()), [[1, 2], [], None]),
        (pa.large_list(pa.string()), [["a"]]),
        (pa.list_(pa.float32(), 2), [[1.0, 2.0]]),
        (pa.map_(pa.string(), pa.int64()), [[("a", 1)]]),
        (pa.struct({"a": pa.int64(), "b": pa.list_(pa.struct({"c": pa.string()}))}), [{"a": 1, "b": [{"c": "x"}]}]),
        (pa.uuid(), [None]),
        (pa.null(), [None]),
    ],
    ids=str,
)
def test_types_that_can_be_stored_are_kept(given: pa.DataType, values: list[Any]) -> None:
    """The dataset has the manifest's own type, and the values are equal."""
    column = pa.array(values, given)
    assert carried(column) == (given, values)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array(["a", None, "a"]).dictionary_encode(), pa.string()),
        (pa.array([1, 1, 2]).dictionary_encode(), pa.int64()),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), pa.string()),
        (pa.array(["a", "longer than twelve bytes", None], pa.string_view()), pa.string()),
        (pa.array([b"a", b"b"], pa.binary_view()), pa.binary()),
        (pa.array([[1, 2], None, []], pa.list_view(pa.int64())), pa.list_(pa.int64())),
        (pa.array([[1]], pa.large_list_view(pa.int64())), pa.large_list(pa.int64())),
        (
            pa.StructArray.from_arrays([pa.array(["x", "y"]).dictionary_encode()], ["k"]),
            pa.struct({"k": pa.string()}),
        ),
        (pa.ListArray.from_arrays([0, 2], pa.array(["x", "x"]).dictionary_encode()), pa.list_(pa.string())),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_encodings_become_the_values_that_they_stand_for(column: pa.Array, wanted: pa.DataType) -> None:
    """Dictionaries, runs and views are no types: their values arrive unchanged."""
    assert carried(column) == (wanted, column.to_pylist())


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([{}, None]), ["{}", None]),
        (pa.array([[{}]]), ["[{}]"]),
        (
            pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
            ["1", '"b"'],
        ),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), ["[1, 2, 3]"]),
        (pa.array([[]], pa.list_(pa.int64(), 0)), ["[]"]),
        (
            pa.array([[({"a": 1}, {})]], pa.map_(pa.struct({"a": pa.int64()}), pa.struct(NO_FIELDS))),
            ['[[{"a": 1}, {}]]'],
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_types_that_parquet_cannot_hold_become_json_text(column: pa.Array, texts: list[str | None]) -> None:
    """The value is kept, its type is not."""
    assert carried(column) == (pa.string(), texts)


def test_types_are_nested_up_to_a_bound() -> None:
    """At the bound a type survives the journey; beyond it the column is JSON text."""
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    kept, deeper = pa.array([value]), pa.array([[value]])
    assert carried(kept) == (kept.type, [value])
    assert carried(deeper) == (pa.string(), [f"[{value}]"])


def test_two_fields_of_one_name_are_refused() -> None:
    """Such a struct has no value that could be named."""
    column = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["k", "k"])
    with pytest.raises(ManifestError, match='column "c" of type struct'):
        storable(pa.record_batch([column], names=["c"]))


def test_fields_keep_their_notes_and_the_batch_loses_the_files() -> None:
    """Metadata of the file, such as what pandas leaves there, says nothing about one column."""
    schema = pa.schema([pa.field("c", pa.int64(), nullable=False, metadata={"unit": "mm"})], metadata={"pandas": "{}"})
    stored = storable(pa.record_batch([pa.array([1])], schema=schema)).schema
    assert stored.metadata is None
    assert stored.field("c").metadata == {b"unit": b"mm"}
    assert not stored.field("c").nullable


def test_an_extension_over_an_encoding_is_json_text() -> None:
    """An extension type is kept where its storage is."""
    assert stored_type(pa.uuid()) == pa.uuid()
    assert stored_type(pa.opaque(DICTIONARY, "kind", "vendor")) is None
    assert stored_type(DICTIONARY) == pa.string()
