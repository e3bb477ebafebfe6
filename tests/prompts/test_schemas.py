"""`prompt.schema`: what is sent of it, and the judge of what comes back."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.prompts.schemas import AnswerSchema, SchemaMismatchError
from pipeline.standin.schemas import check_schemas, sample


def with_property(part: Any, **more: Any) -> dict[str, Any]:
    """A schema with one required property."""
    return {"type": "object", "properties": {"x": part}, "required": ["x"], **more}


def sent(part: Any, **more: Any) -> Any:
    """What is sent of a property."""
    return AnswerSchema(with_property(part, **more)).sent["properties"]["x"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "string", "minLength": 2}, {"type": "string", "description": "(minLength: 2)"}),
        (
            {"type": "integer", "description": "How many.", "minimum": 0, "maximum": 9},
            {"type": "integer", "description": "How many. (minimum: 0, maximum: 9)"},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
            {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "(minItems: 3, uniqueItems: true)",
            },
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 1},
            {"type": "array", "items": {"type": "null"}, "minItems": 1},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "color"}, {"type": "string", "description": '(format: "color")'}),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"type": "string", "pattern": "^[a-z]+$"}),
        (
            {"type": "string", "pattern": "^(?!a)"},
            {"type": "string", "description": '(pattern: "^(?!a)")'},
        ),
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"const": "é"}, {"const": "é"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": ["string", "null"], "examples": ["x"]}, {"type": ["string", "null"]}),
        (
            {"properties": {"y": {"type": "string"}}},
            {"properties": {"y": {"type": "string"}}, "type": "object", "additionalProperties": False},
        ),
    ],
)
def test_what_a_grammar_cannot_hold_is_said_in_words(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Lengths, bounds and the like are left out and told in the description; the service takes what is left."""
    found = sent(part)
    assert found == expected
    check_schemas([("schema", AnswerSchema(with_property(part)).sent)])


def test_definitions_and_references_are_sent() -> None:
    """A reference goes as it is, what it points to is treated like everything else, and the whole is taken."""
    schema = AnswerSchema(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/word", "description": "dropped"}, "b": {"$ref": "#/$defs/word"}},
            "required": ["a"],
            "$defs": {"word": {"type": "string", "maxLength": 3}},
        }
    )
    assert schema.sent["properties"]["a"] == {"$ref": "#/$defs/word"}
    assert schema.sent["$defs"]["word"] == {"type": "string", "description": "(maxLength: 3)"}
    check_schemas([("schema", schema.sent)])
    with pytest.raises(SchemaMismatchError, match=r"^a: "):
        schema.fitted({"a": "long"})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": {}}, 'type = "object"'),
        ({"type": "object", "properties": {}}, 'type = "object"'),
        ({"type": "object"}, 'type = "object"'),
        (with_property({"type": "words"}), "no JSON schema"),
        (with_property({"type": "string", "minLength": "2"}), "no JSON schema"),
        (with_property(True), "takes tables alone"),
        (with_property({"type": "object", "additionalProperties": {"type": "string"}}), "closed objects alone"),
        (with_property({"$ref": "#/$defs/none"}), "leads to a table"),
        (with_property({"$ref": "https://example.org/schema"}), "starts with #/"),
        (with_property({"$ref": "#/properties/x"}), "leads back to itself"),
        (with_property({"allOf": [{"$ref": "#/$defs/a"}]}, **{"$defs": {"a": {"type": "string"}}}), "within allOf"),
        (with_property({"type": "string", "pattern": "["}), "is not a 'regex'"),
        (with_property({"$dynamicRef": "#x"}), "plain $ref"),
        (
            {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(25)}},
            "found 25 optional properties",
        ),
        (with_property({"anyOf": [{"type": ["null", "string"]}] * 16}), "found 17 union-typed"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_sent(schema: dict[str, Any], said: str) -> None:
    """The message names the key and what is taken."""
    with pytest.raises(ConfigError) as refused:
        AnswerSchema(schema)
    assert str(refused.value).startswith("prompt.schema")
    assert said in str(refused.value)


WORDS = AnswerSchema(
    with_property(
        {
            "type": "object",
            "properties": {
                "mood": {"enum": ["Calm", "LIVELY"]},
                "kind": {"const": "Photo"},
                "tags": {"type": "array", "items": {"anyOf": [{"enum": ["Sea", "Sky"]}, {"type": "null"}]}},
                "free": {"type": "string"},
            },
        }
    )
)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"mood": "calm"}, {"mood": "Calm"}),
        ({"mood": "Lively", "kind": "PHOTO"}, {"mood": "LIVELY", "kind": "Photo"}),
        ({"tags": ["SEA", None, "sky"]}, {"tags": ["Sea", None, "Sky"]}),
        ({"free": "calm"}, {"free": "calm"}),
    ],
)
def test_enumerated_words_come_back_as_the_schema_spells_them(answer: Any, read: Any) -> None:
    """The service may answer them in other letters (its page on structured outputs); free texts stay as they are."""
    assert WORDS.read(json.dumps({"x": answer})) == {"x": read}


def test_words_that_differ_in_case_alone_are_kept_apart() -> None:
    """Where the schema has both, only an exact one fits."""
    schema = AnswerSchema(with_property({"enum": ["a", "A"]}))
    assert schema.read('{"x": "A"}') == {"x": "A"}
    schema = AnswerSchema(with_property({"enum": ["ab", "AB"]}))
    with pytest.raises(SchemaMismatchError):
        schema.read('{"x": "Ab"}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("A picture.", "no JSON"),
        ('{"x": "long eno', "no JSON"),
        ('{"x": NaN}', "no JSON: NaN"),
        ("[" * 100_000, "no JSON"),
        ("[]", "the answer: "),
        ("{}", "'x' is a required property"),
        ('{"x": "a"}', "x: 'a' is too short"),
        ('{"x": 7}', "x: 7 is not of type 'string'"),
    ],
)
def test_what_does_not_fit_says_where_and_why(text: str, said: str) -> None:
    """In one line that is short enough for a failure's row."""
    schema = AnswerSchema(with_property({"type": "string", "minLength": 2}))
    with pytest.raises(SchemaMismatchError) as mismatch:
        schema.read(text)
    assert said in str(mismatch.value)
    assert "\n" not in str(mismatch.value)
    assert len(str(mismatch.value)) < 700


def test_json_in_a_fence_is_read() -> None:
    """As servers without structured outputs like to write it."""
    schema = AnswerSchema(with_property({"type": "integer"}))
    assert schema.read('```json\n{"x": 1}\n```\n') == {"x": 1}
    assert schema.read('\n```\n{"x": 2}\n```') == {"x": 2}


def test_formats_and_closed_objects_are_enforced_here() -> None:
    """The whole schema is the judge, whatever of it was sent."""
    schema = AnswerSchema(with_property({"type": "string", "format": "date"}, additionalProperties=False))
    assert schema.read('{"x": "2026-11-24"}')
    for wrong in ('{"x": "24.11.2026"}', '{"x": "2026-11-24", "y": 1}'):
        with pytest.raises(SchemaMismatchError):
            schema.read(wrong)


scalars = st.sampled_from(
    [
        {"type": "string", "maxLength": 500},
        {"type": "integer", "minimum": -5},
        {"type": "number"},
        {"type": "boolean"},
        {"enum": ["Red", "Green", 3]},
        {"const": "Fixed"},
        {"type": ["string", "null"]},
        {"type": "string", "format": "email"},
        {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]},
    ]
)
parts = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item, "maxItems": 3}, inner),
        st.builds(
            lambda each: {"type": "object", "properties": each, "required": sorted(each)},
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(part=parts)
def test_whatever_is_sent_is_taken_and_its_answers_fit(part: dict[str, Any]) -> None:
    """The service's rules and ours agree: it takes the sent part, and what it answers by that passes the whole."""
    schema = AnswerSchema(with_property(part))
    check_schemas([("schema", schema.sent)])
    answer = sample(schema.sent, "A picture.")
    assert schema.read(json.dumps(answer)) == answer
