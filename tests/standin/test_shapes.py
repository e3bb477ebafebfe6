"""Objects checked field by field."""

from typing import Any

import pytest

from pipeline.standin.problems import Problem
from pipeline.standin.shapes import at, check_choice, check_fields


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "block: Input should be a valid dictionary"),
        ({}, "block.name: Field required"),
        ({"name": 7}, "block.name: Input should be a valid string"),
        ({"name": "x", "count": True}, "block.count: Input should be a valid integer or null"),
        ({"name": "x", "count": 1.5}, "block.count: Input should be a valid integer or null"),
        ({"name": "x", "colour": 1}, "block.colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_should_be(value: Any, said: str) -> None:
    """Missing, unknown and mistyped fields are each named by their place; a bool is no number."""
    with pytest.raises(Problem) as caught:
        check_fields(value, "block", {"name": str}, {"count": (int, type(None))})
    assert (caught.value.status, caught.value.message) == (400, said)


def test_what_fits_comes_back() -> None:
    """A good object is returned as it is."""
    value = {"name": "x", "count": None}
    assert check_fields(value, "block", {"name": str}, {"count": (int, type(None))}) is value


def test_the_body_itself_has_an_empty_place() -> None:
    """A top-level field is named by its own name alone."""
    assert at("", "model") == "model"
    assert at("messages", 0) == "messages.0"


def test_a_choice_is_named_with_all_that_is_allowed() -> None:
    """The message says what could have been given."""
    check_choice("b", "x.type", ("a", "b"))
    with pytest.raises(Problem, match=r"^x\.type: Input should be 'a', 'b'$"):
        check_choice("c", "x.type", ("a", "b"))
