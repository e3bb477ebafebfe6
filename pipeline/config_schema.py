"""The JSON schema of a configuration file, generated from the settings: for editors, and for the reference.

It says of one file what the loader says of it: unknown keys, missing ones, types and bounds. What it cannot say are
the rules between keys, and what the disk and the service would say: `pipeline check` does. `configs/config.schema.json`
is its text; `python -m pipeline.config_schema` prints it.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from pipeline.api.catalogue import OURS, Model
from pipeline.settings import Config

__all__ = ["config_schema", "schema_text"]

_TITLE = "Configuration of pipeline"
_PLACE = "#/definitions/{model}"
_NULL = {"type": "null"}


class _Generator(GenerateJsonSchema):
    """Without the titles that only repeat the names of the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def str_schema(self, schema: core_schema.StringSchema) -> dict[str, Any]:
        """Without the bound that every text has, a million characters, which nobody meets in an editor."""
        node = super().str_schema(schema)
        node.pop("maxLength", None)
        return node

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        """Likewise for names of keys."""
        node = super().dict_schema(schema)
        if not node.get("propertyNames", True):
            del node["propertyNames"]
        return node


def config_schema() -> dict[str, Any]:
    """The schema as plain values, in the draft that editors know."""
    tree = Config.model_json_schema(by_alias=True, ref_template=_PLACE, schema_generator=_Generator)
    sections = tree.pop("$defs")
    for section in (*sections.values(), tree):
        section.pop("title", None)
        for key, node in section["properties"].items():
            section["properties"][key] = _as_toml(node)
    for name, node in tree["properties"].items():
        if "$ref" in node:
            section = sections[node["$ref"].rpartition("/")[2]]
            node.pop("default", None)
            for key, each in section["properties"].items():
                each["description"] += f"\n\nEnvironment: PIPELINE__{name.upper()}__{key.upper()}"
    tree["properties"]["models"]["additionalProperties"] = {"$ref": _PLACE.format(model="Model")}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": _TITLE,
        **tree,
        "definitions": {**sections, "Model": _model()},
    }


def schema_text() -> str:
    """The schema as the file holds it."""
    return f"{json.dumps(config_schema(), indent=2, ensure_ascii=False)}\n"


def _model() -> dict[str, Any]:
    """One entry of `models`: every key may be left out."""
    node = Model.model_json_schema(schema_generator=_Generator)
    properties = {key: _as_toml(each) for key, each in node["properties"].items() if key not in OURS}
    for each in properties.values():
        each.pop("default", None)  # what is left out is as the shipped table has it
    return {
        "type": "object",
        "description": "A model's prices in US dollars per million tokens, its limits and abilities.",
        "properties": properties,
        "additionalProperties": False,
    }


def _as_toml(node: dict[str, Any]) -> dict[str, Any]:
    """The node of one key: TOML has no null, so a key that may be none is one that may be left out."""
    node = {key: value for key, value in node.items() if not (key == "default" and value is None)}
    node.pop("title", None)
    options = node.get("anyOf", [])
    if _NULL in options:
        rest = [option for option in options if option != _NULL]
        node = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**rest[0], **node} if len(rest) == 1 else {**node, "anyOf": rest}
    return node


if __name__ == "__main__":
    sys.stdout.write(schema_text())
