"""Which schemas are compiled, and values that fit them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.problems import Problem
from pipeline.standin.schemas import check_schemas, sample


def closed(**properties: Any) -> dict[str, Any]:
    """An object schema as the service wants it, every property required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


GOOD = [
    closed(caption={"type": "string"}, tags={"type": "array", "items": {"type": "string"}, "minItems": 1}),
    closed(kind={"enum": ["a", 1, None]}, fixed={"const": "x"}, maybe={"type": ["integer", "null"]}),
    closed(when={"type": "string", "format": "date"}, code={"type": "string", "pattern": "^[a-z]+$"}),
    closed(either={"anyOf": [{"type": "string"}, {"type": "null"}]}, both={"allOf": [closed(a={"type": "number"})]}),
    {**closed(point={"$ref": "#/$defs/point"}), "$defs": {"point": closed(x={"type": "number"})}},
]
BAD = [
    ({"type": "object", "properties": {}}, "additionalProperties"),
    ({**closed(), "additionalProperties": True}, "additionalProperties"),
    (closed(n={"type": "integer", "minimum": 1}), "minimum"),
    (closed(s={"type": "string", "maxLength": 9}), "maxLength"),
    (closed(a={"type": "array", "items": {"type": "string"}, "minItems": 2}), "minItems"),
    (closed(a={"type": "array", "items": {"type": "string"}, "maxItems": 2}), "maxItems"),
    (closed(s={"type": "string", "format": "phone"}), "format"),
    (closed(s={"type": "string", "pattern": "(?=a)"}), "pattern"),
    (closed(s={"type": "string", "pattern": r"(a)\1"}), "pattern"),
    (closed(s={"type": "string", "pattern": r"\bword"}), "pattern"),
    (closed(s={"enum": [["a"]]}), "enum"),
    (closed(s={"type": "text"}), "type"),
    (closed(s={"$ref": "https://example.org/schema"}), "$ref"),
    (closed(s={"$ref": "#/$defs/absent"}), "$ref"),
    (closed(s="string"), "properties.s"),
    ({**closed(s={"allOf": [{"$ref": "#/$defs/p"}]}), "$defs": {"p": closed()}}, "allOf"),
    ({**closed(n={"$ref": "#/$defs/n"}), "$defs": {"n": closed(n={"$ref": "#/$defs/n"})}}, "recursive"),
]


@pytest.mark.parametrize("schema", GOOD)
def test_supported_schemas_pass(schema: dict[str, Any]) -> None:
    """Everything on the documentation's list of supported features is taken."""
    check_schemas([("schema", schema)])


@pytest.mark.parametrize(("schema", "word"), BAD)
def test_unsupported_schemas_are_refused_by_name(schema: dict[str, Any], word: str) -> None:
    """What no grammar holds is a 400 that names the keyword or the rule."""
    with pytest.raises(Problem) as caught:
        check_schemas([("output", schema)])
    assert caught.value.status == 400
    assert caught.value.message.startswith("output")
    assert word in caught.value.message


def test_a_schema_may_be_met_twice_without_being_recursive() -> None:
    """Two properties of one definition are no recursion."""
    point = {"$ref": "#/$defs/point"}
    check_schemas([("s", {**closed(a=point, b=point), "$defs": {"point": closed(x={"type": "number"})}})])


@pytest.mark.parametrize(("optional", "unions"), [(25, 0), (0, 17)])
def test_complexity_counts_over_the_whole_request(optional: int, unions: int) -> None:
    """Two schemas that would pass alone are refused together once they have too many optional or union properties."""
    parts = {f"o{n}": {"type": "string"} for n in range(optional)}
    loose = {**closed(**parts), "required": []}
    varied = closed(**{f"u{n}": {"type": ["string", "null"]} for n in range(unions)})
    check_schemas([("a", {**loose, "properties": dict(list(parts.items())[:24])})])
    with pytest.raises(Problem, match="too complex"):
        check_schemas([("a", loose), ("b", varied)])


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits one of the simple schemas below."""
    kinds = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
    if schema["type"] == "object":
        return list(value) == list(schema["properties"]) and all(
            fits(value[name], part) for name, part in schema["properties"].items()
        )
    if schema["type"] == "array":
        return isinstance(value, list) and all(fits(part, schema["items"]) for part in value)
    return isinstance(value, kinds[schema["type"]])


LEAVES = st.sampled_from(["string", "integer", "boolean", "null"]).map(lambda kind: {"type": kind})
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda part: {"type": "array", "items": part}),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda parts: closed(**parts)),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(SCHEMAS)
def test_a_sample_fits_its_schema(schema: dict[str, Any]) -> None:
    """Whatever the nesting, a sample has the schema's types and exactly its properties."""
    check_schemas([("s", schema)])
    assert fits(sample(schema, "text"), schema)


def test_a_sample_takes_the_first_of_what_is_allowed() -> None:
    """Constants, enums, unions, references and formats are honoured."""
    assert sample(GOOD[1], "t") == {"kind": "a", "fixed": "x", "maybe": 1}
    assert sample(GOOD[2], "t") == {"when": "2026-11-23", "code": "t"}
    assert sample(GOOD[3], "t") == {"either": "t", "both": {"a": 0.5}}
    assert sample(GOOD[4], "t") == {"point": {"x": 0.5}}


def test_required_keys_come_first() -> None:
    """The service answers required properties before optional ones."""
    schema = {**closed(a={"type": "string"}, b={"type": "string"}), "required": ["b"]}
    assert list(sample(schema, "t")) == ["b", "a"]
