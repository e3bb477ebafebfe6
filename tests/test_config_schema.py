"""The JSON schema of a configuration says of a file what the loader says of it."""

import json
import re
import tomllib
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.configs import LEAST, every_key

from pipeline.api.catalogue import OURS, Catalogue, Model
from pipeline.config_schema import schema_text
from pipeline.errors import ConfigError
from pipeline.settings import Config

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.toml"))
SCHEMA = json.loads(schema_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
KEYS = sorted(every_key().keys() - {"models"})
VALUES: list[Any] = [
    True,
    -1,
    0,
    1,
    28,
    101,
    2000,
    -0.5,
    0.5,
    1.5,
    1000.5,
    "",
    " ",
    "auto",
    "off",
    "model",
    "csv",
    "none",
    "1%",
    "101%",
    "100.0 %",
    "1h30m",
    "90",
    "soon",
    "0s",
    "embedded",
    "ftp://host",
    "https://host/path",
    "https://host?x",
    "A_NAME",
    "two words",
    "line\nline",
    "zstd",
    [],
    [""],
    ["text"],
    [["a", "b"], ""],
    [1],
    {},
    {"type": "object"},
    {"X-Name": "value"},
    {"X-Name": 1},
    {"no name": "value"},
    [{"base_url": "https://host"}],
    [{"base_url": "https://host", "wight": 1}],
    [{"image": "a", "user": "b", "assistant": "c"}],
    [{"image": "a", "user": "b"}],
]
"""Of every type that TOML has, good and bad for one key or another; 1.0 is an integer to a JSON schema."""


def said(tree: dict[str, Any]) -> list[str]:
    """What the schema finds wrong; dates as editors see them."""
    plain = json.loads(json.dumps(tree, default=date.isoformat))
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(plain)]


def loads(tree: dict[str, Any]) -> bool:
    """Whether the loader takes it, as one file, models and all."""
    try:
        config = Config.model_validate(deepcopy(tree))
        Catalogue(config.models)
    except (ValidationError, ConfigError):
        return False
    return True


def with_key(key: str, value: Any) -> dict[str, Any]:
    """The least configuration with one key put in."""
    tree = tomllib.loads(LEAST)
    section, _, name = key.partition(".")
    tree.setdefault(section, {})[name] = value
    return tree


def test_the_file_is_what_the_settings_make_of_it() -> None:
    """`python -m pipeline.config_schema > configs/config.schema.json` brings it along."""
    assert (CONFIGS / "config.schema.json").read_text("utf-8") == schema_text()


def test_the_schema_is_one() -> None:
    """By its own draft, with nothing pointing nowhere."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    pointers = set(re.findall(r'"\$ref": "#/definitions/(\w+)"', schema_text()))
    assert pointers == set(SCHEMA["definitions"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_configuration_fits_and_names_the_schema(path: Path) -> None:
    """The first line is the one that editors look for, and leads to the file."""
    text = path.read_text("utf-8")
    assert said(tomllib.loads(text)) == []
    hint = re.match(r"#:schema (\S+)\n", text)
    assert hint is not None
    assert (path.parent / hint[1]).resolve() == CONFIGS / "config.schema.json"


@pytest.mark.parametrize("key", KEYS)
def test_loader_and_schema_agree_on_every_value(key: str) -> None:
    """On each of these values, for each key; rules between keys are the loader's alone."""
    between = {"api.mode": "auto", "prompt.turn_images": [["a", "b"], ""]}
    for value in VALUES:
        tree = with_key(key, value)
        if between.get(key) == value:
            continue
        problems = said(tree)
        assert loads(tree) == (not problems), f"{key} = {value!r}: {problems}"


@given(key=st.sampled_from(KEYS), name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
@settings(max_examples=60, deadline=None)
def test_an_unknown_key_is_wrong_to_both(key: str, name: str) -> None:
    """In any section."""
    tree = with_key(f"{key.partition('.')[0]}.{name}", 1)
    if f"{key.partition('.')[0]}.{name}" not in every_key():
        assert said(tree)
        assert not loads(tree)


def test_an_unknown_section_is_wrong_to_both() -> None:
    """Such as one that is misspelt."""
    tree = {**tomllib.loads(LEAST), "limit": {}}
    assert said(tree) == ["$: Additional properties are not allowed ('limit' was unexpected)"]
    assert not loads(tree)


@pytest.mark.parametrize("key", [key for key, field in every_key().items() if field.is_required()])
def test_a_missing_key_is_wrong_to_both(key: str) -> None:
    """Each of those without which nothing can be sent."""
    tree = tomllib.loads(LEAST)
    section, _, name = key.partition(".")
    del tree[section][name]
    assert said(tree) == [f"$.{section}: '{name}' is a required property"]
    assert not loads(tree)


@pytest.mark.parametrize("key", [*sorted(Model.model_fields.keys() - set(OURS)), "price", "id", "known"])
def test_loader_and_schema_agree_on_models(key: str) -> None:
    """Prices, limits and abilities, by name."""
    for value in (True, -1, 0, 2, 0.5, "high", "text", ["text"], [1], {}, date(2027, 1, 1)):
        tree = {**tomllib.loads(LEAST), "models": {"own": {key: value}}}
        problems = said(tree)
        text_as_date = SCHEMA["definitions"]["Model"]["properties"].get(key, {}).get("format") == "date"
        if text_as_date and isinstance(value, str):
            continue  # a format is a hint, no rule
        if isinstance(value, date) and not text_as_date:
            continue  # a date looks like a text in JSON
        assert loads(tree) == (not problems), f"{key} = {value!r}: {problems}"


def test_every_key_is_explained_where_it_is_typed() -> None:
    """Its description, and the variable of the environment that sets it."""
    for section, node in SCHEMA["properties"].items():
        if section == "models":
            continue
        for key, each in SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]["properties"].items():
            assert each["description"].endswith(f"Environment: PIPELINE__{section.upper()}__{key.upper()}")
            assert "null" not in json.dumps(each)
