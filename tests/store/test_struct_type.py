"""The type of the `data` column."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.struct_type import fit, struct_type

TEXT, WHOLE, NUMBER, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, TEXT),
        ({"type": ["integer", "null"]}, WHOLE),
        ({"type": ["integer", "string"]}, TEXT),
        ({"enum": ["cat", "dog"]}, TEXT),
        ({"enum": [1, 2, None]}, WHOLE),
        ({"const": True}, TRUTH),
        ({"const": 1.5}, NUMBER),
        ({}, TEXT),
        ({"type": "object"}, TEXT),
        ({"type": "array"}, pa.list_(TEXT)),
        ({"type": "array", "items": {"type": "number"}}, pa.list_(NUMBER)),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, TRUTH),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, TEXT),
        ({"properties": {"n": {"type": "integer"}}}, pa.struct([("n", WHOLE)])),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, WHOLE),
        ({"$ref": "#/$defs/none"}, TEXT),
    ],
)
def test_a_schema_has_the_type_of_its_answers(schema: dict[str, Any], expected: pa.DataType) -> None:
    """Scalars, lists and structs have their Arrow kind; what has no single type is kept as JSON text."""
    assert struct_type(schema) == expected


def test_a_nested_schema_becomes_a_nested_struct() -> None:
    """Objects in lists in objects keep their shape."""
    tag = {"type": "object", "properties": {"name": {"type": "string"}, "score": {"type": "number"}}}
    schema = {"type": "object", "properties": {"tags": {"type": "array", "items": tag}, "ok": {"type": "boolean"}}}
    assert struct_type(schema) == pa.struct(
        [("tags", pa.list_(pa.struct([("name", TEXT), ("score", NUMBER)]))), ("ok", TRUTH)]
    )


def test_a_schema_that_refers_to_itself_ends() -> None:
    """What stands within itself is kept as JSON text, also where it branches."""
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#/$defs/node"}}}
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"type": "string"}}}
    assert struct_type({**tree, "$defs": {"node": node}}) == pa.struct(
        [("left", TEXT), ("right", pa.struct([("next", TEXT), ("name", TEXT)]))]
    )
    assert struct_type({"$ref": "#"}) == TEXT


@pytest.mark.parametrize(
    ("value", "arrow_type", "expected"),
    [
        (3, NUMBER, 3.0),
        (3.0, WHOLE, 3),
        (3.5, WHOLE, None),
        (True, WHOLE, None),
        (1, TRUTH, None),
        (2**63, WHOLE, None),
        (2**31, pa.int32(), None),
        (-(2**31), pa.int32(), -(2**31)),
        (float("nan"), WHOLE, None),
        (float("inf"), WHOLE, None),
        (10**400, NUMBER, None),
        ({"b": [1]}, TEXT, '{"b": [1]}'),
        ("plain", TEXT, "plain"),
        ([1, "x"], pa.list_(WHOLE), [1, None]),
        ("no list", pa.list_(WHOLE), None),
        ([], pa.struct([("a", WHOLE)]), None),
        ({"b": 1}, pa.struct([("a", WHOLE)]), {"a": None}),
    ],
)
def test_values_are_fitted_to_their_type(value: Any, arrow_type: pa.DataType, expected: Any) -> None:
    """What fits is kept, what is text in the type is written out, and what cannot be held becomes null."""
    assert fit(value, arrow_type) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=8,
)
TYPES = st.recursive(
    st.sampled_from([TEXT, WHOLE, NUMBER, TRUTH, pa.int32(), pa.timestamp("us", tz="UTC")]),
    lambda inner: inner.map(pa.list_) | inner.map(lambda one: pa.struct([("a", one), ("b", one)])),
    max_leaves=4,
)


@settings(deadline=None, max_examples=150)
@given(JSON, TYPES)
def test_any_fitted_value_goes_into_its_column(value: Any, arrow_type: pa.DataType) -> None:
    """No answer, however wrong, can keep a part from being written."""
    json.loads(json.dumps(value))
    assert len(pa.array([fit(value, arrow_type)], arrow_type)) == 1
