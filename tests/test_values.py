"""Values: what each special type of a configuration value takes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.values import (
    Concurrency,
    EdgeOrModel,
    Failures,
    Headers,
    HeaderValue,
    JsonSchema,
    JsonTable,
    Rate,
    Texts,
    TokensOrModel,
    TurnImages,
    VariableName,
)

GOOD: list[tuple[Any, Any]] = [
    (Rate, 0.5),
    (Rate, 1200),
    (Rate, "auto"),
    (Rate, "off"),
    (Concurrency, 1),
    (Concurrency, "auto"),
    (EdgeOrModel, 28),
    (EdgeOrModel, "model"),
    (TokensOrModel, 1),
    (TokensOrModel, "model"),
    (Failures, 0),
    (Failures, "0%"),
    (Failures, "100%"),
    (Failures, "2.5%"),
    (Texts, "a"),
    (Texts, ["a", "b"]),
    (TurnImages, ["left", "", ["right", "top"]]),
    (JsonSchema, {"type": "object"}),
    (JsonSchema, "schema.json"),
    (JsonTable, {"type": "enabled", "budget_tokens": 2000, "list": [1, None, True, {"deep": 0.5}]}),
    (VariableName, "ANTHROPIC_API_KEY"),
    (HeaderValue, "a"),
    (HeaderValue, 'Bearer a, b; c="d"'),
    (Headers, {"anthropic-beta": "a,b", "X_1": "2"}),
]
BAD: list[tuple[Any, Any]] = [
    (Rate, 0),
    (Rate, -1),
    (Rate, float("inf")),
    (Rate, float("nan")),
    (Rate, True),
    (Rate, "Auto"),
    (Rate, [1]),
    (Concurrency, 0),
    (Concurrency, 1.0),
    (Concurrency, "off"),
    (EdgeOrModel, True),
    (EdgeOrModel, None),
    (EdgeOrModel, 27),
    (TokensOrModel, 0),
    (Failures, -1),
    (Failures, True),
    (Failures, 0.5),
    (Failures, "1"),
    (Failures, "-1%"),
    (Failures, "101%"),
    (Failures, "nan%"),
    (Failures, "\u0661%"),
    (Texts, ""),
    (Texts, " \n"),
    (Texts, []),
    (Texts, ["a", " "]),
    (Texts, ["a", 1]),
    (TurnImages, []),
    (TurnImages, "left"),
    (TurnImages, [["left", 1]]),
    (JsonSchema, ""),
    (JsonSchema, []),
    (JsonSchema, {"a": float("nan")}),
    (JsonTable, {"a": object()}),
    (JsonTable, {"a": float("inf")}),
    (VariableName, ""),
    (VariableName, "1A"),
    (VariableName, "sk-ant-api03"),
    (VariableName, "A\n"),
    (HeaderValue, ""),
    (HeaderValue, " a"),
    (HeaderValue, "a\r\nx-evil: 1"),
    (HeaderValue, "é"),
    (Headers, {"": "a"}),
    (Headers, {"a b": "c"}),
    (Headers, {"a:": "c"}),
    (Headers, {"a": "b\n"}),
    (Headers, {"a": 1}),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_fitting_value_is_kept_as_it_is(kind: Any, value: Any) -> None:
    """What is allowed comes out as it went in, of the same type."""
    found = TypeAdapter(kind).validate_python(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_value_that_does_not_fit_is_refused(kind: Any, value: Any) -> None:
    """What is not allowed is an error, never quietly turned into something else."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value, strict=True)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=2))
@settings(deadline=None, max_examples=200)
def test_no_header_reaches_beyond_its_line(headers: dict[str, str]) -> None:
    """Headers that pass can be written one a line and read back as the same headers."""
    try:
        passed = TypeAdapter(Headers).validate_python(headers)
    except ValidationError:
        return
    lines = "\r\n".join(f"{name}: {value}" for name, value in passed.items()).encode("ascii").split(b"\r\n")
    assert [tuple(line.decode().split(": ", 1)) for line in lines if line] == list(headers.items())
