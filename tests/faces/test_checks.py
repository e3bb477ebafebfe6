"""What a check found, as people read it."""

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import LEAST, written

from pipeline.config import effective, load_config
from pipeline.engines.checking import CheckReport
from pipeline.faces.checks import check_text

TEXTS = st.text(st.characters(codec="utf-8"))
PLAIN = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS.filter(bool), inner)), max_leaves=8
)


def printed(config: dict[str, Any]) -> str:
    """The configuration part of the text."""
    return check_text(CheckReport(), config).rpartition("\n")[0]


def test_the_configuration_can_be_copied_into_a_file(tmp_path: Path) -> None:
    """What `check` prints means what was checked: every value, whatever is in it."""
    models = '[models."Qwen/Qwen3-VL"]\ninput = 0.5\noutput = 1.0\n'
    text = LEAST.replace(
        'user = "Describe this image."', 'user = ["One \\u001b \\u009b", "Two {{ x }}"]\nprefill = "A\\n"'
    )
    path = written(tmp_path, text + models)
    config = load_config(path, environ={})
    again = tmp_path / "again.toml"
    again.write_text(printed(effective(config)))
    assert load_config(again, environ={}) == config


@given(st.dictionaries(st.sampled_from(["api", "prompt", "models"]), st.dictionaries(TEXTS.filter(bool), VALUES)))
@settings(deadline=None, max_examples=60)
def test_whatever_the_values_the_text_is_toml_and_safe(config: dict[str, Any]) -> None:
    """No value breaks out of its line, and none is obeyed by the terminal."""
    text = printed(config)
    assert all(line.isprintable() for line in text.split("\n"))
    kept = {
        section: shown
        for section, values in config.items()
        if (shown := {name: value for name, value in values.items() if value not in (None, {}, [])})
    }
    assert tomllib.loads(text) == kept


def test_notes_stand_before_problems_and_the_verdict_at_the_end() -> None:
    """The last line is what people look at; texts from a manifest are data."""
    report = CheckReport(["bad\x1b[2J row"], ["small image"], rows=2, images=1)
    lines = check_text(report, None).splitlines()
    assert lines == [
        "note     small image",
        "problem  bad\\x1b[2J row",
        "1 problem: 2 rows read, 1 image prepared, nothing sent",
    ]
    assert check_text(CheckReport(rows=1), None) == "no problems: 1 row read, 0 images prepared, nothing sent"
