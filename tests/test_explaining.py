"""Explaining: how a value is shown, and where it is said to come from."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.explaining import explained, found
from pipeline.settings import Config

LEAST: dict[str, Any] = {
    "manifest": {"path": "m.csv"},
    "api": {"model": "m", "max_tokens": 1},
    "prompt": {"user": "u"},
    "output": {"path": "o"},
}


def message(origins: dict[tuple[str, ...], str], **sections: dict[str, Any]) -> str:
    """What is said of the least configuration with these sections changed."""
    tree = {name: {**LEAST.get(name, {}), **sections.get(name, {})} for name in {*LEAST, *sections}}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree)
    return str(explained(caught.value, "job.toml", origins))


def test_one_problem_is_one_line() -> None:
    """File, key, what was found and what is allowed stand in one sentence."""
    assert (
        message({}, retry={"max_attempts": 0})
        == "job.toml: retry.max_attempts: found 0; allowed: a number of at least 1"
    )


def test_several_problems_are_counted() -> None:
    """Each has a line of its own below the file's name."""
    lines = message({}, retry={"max_attempts": 0, "drain_seconds": "x"}).split("\n  ")
    assert lines[0] == "job.toml: 2 problems"
    assert len(lines) == 3


def test_a_value_from_outside_the_file_says_where_it_came_from() -> None:
    """The origin of the key itself, of one above it and of one below it is told; that of another key is not."""
    origins = {("retry", "max_attempts"): "--set retry.max_attempts", ("api",): "--set api"}
    assert "found 0 (--set retry.max_attempts);" in message(origins, retry={"max_attempts": 0})
    assert "found 0 (--set api);" in message(origins, api={"max_tokens": 0})
    assert "(" not in message(origins, retry={"drain_seconds": -1})


def test_a_wrong_header_is_named_without_its_value() -> None:
    """Which header is wrong is said, what it holds is not; a wrong name is said as it is."""
    wrong = message({}, api={"headers": {"x-team": "canary\n"}})
    assert "api.headers.x-team: found ***" in wrong
    assert "canary" not in wrong
    assert "api.headers.a b: " in message({}, api={"headers": {"a b": "c"}})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        ('say "é"\n\x1b[31m', '"say \\"é\\"\\n\\u001b[31m"'),
        (True, "true"),
        (1.5, "1.5"),
        ([1, {"a": None}], '[1, {"a": null}]'),
        ({"at": object}, '{"at": "<class \'object\'>"}'),
    ],
)
def test_a_value_is_shown_on_one_printable_line(value: object, shown: str) -> None:
    """Texts are quoted, control characters written out, tables readable."""
    assert found(value) == shown


def test_a_long_value_is_cut() -> None:
    """A message stays readable whatever was given."""
    assert len(found("a" * 10_000)) == 120
