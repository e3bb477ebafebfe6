"""`configuration.md`: every key, from the JSON schema that the settings make."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from generating.markdown import table
from pipeline.config_schema import config_schema

__all__ = ["configuration"]

_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text", "object": "table"}


def configuration() -> Iterator[str]:
    """Every key, from the JSON schema that the settings make."""
    schema = config_schema()
    yield "# Configuration"
    yield ""
    yield "A TOML file. Relative paths start at the working directory, image paths at `manifest.root`. Every key can be"
    yield "given by `--set SECTION.KEY=VALUE` or by an environment variable `PIPELINE__SECTION__KEY`: `--set` wins over"
    yield "the environment, that over the file. An unknown key, a wrong type or a bad value is an error that names the"
    yield "key, what was found and what is allowed. `pipeline check` prints the configuration in force, secrets masked."
    yield ""
    for name, node in schema["properties"].items():
        if "$ref" in node:
            yield from _section(name, schema["definitions"][_last(node["$ref"])], schema)
    yield from _models_section(schema)


def _section(name: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    about = node["description"].partition(": ")[2]
    yield f"## {name}"
    yield ""
    yield f"{about[0].upper()}{about[1:]}"
    yield ""
    yield from _keys(f"{name}.", node)
    for key, each in node["properties"].items():
        ref = each.get("items", {}).get("$ref")
        if ref is not None:
            inner = schema["definitions"][_last(ref)]
            yield f"Each entry of `{name}.{key}` is a table:"
            yield ""
            yield from _keys("", inner)


def _keys(prefix: str, node: Mapping[str, Any]) -> Iterator[str]:
    required = set(node.get("required", ()))
    rows = [
        (
            f"`{prefix}{key}`",
            " or ".join(dict.fromkeys(_type(each))),
            "required" if key in required else f"`{json.dumps(each['default'])}`" if "default" in each else "none",
            ", ".join(_allowed(each)) or "any",
            each.get("description", "").partition("\n\nEnvironment")[0],
        )
        for key, each in node["properties"].items()
    ]
    yield from table(["key", "type", "default", "allowed", "meaning"], rows)


def _models_section(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "## models"
    yield ""
    yield "`[models.NAME]` overrides single values of the [shipped catalogue](models.md), or adds a model that it does"
    yield "not have. NAME is the model's id or alias, quoted where it holds more than letters, digits, `-` and `_`. A"
    yield "model that is in neither works too: its price is unknown and said to be."
    yield ""
    node = schema["definitions"]["Model"]
    rows = [
        (
            f"`{key}`",
            " or ".join(dict.fromkeys(_type(each))),
            ", ".join(_allowed(each)) or "any",
            each.get("description", ""),
        )
        for key, each in node["properties"].items()
    ]
    yield from table(["key", "type", "allowed", "meaning"], rows)


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _type(node: Mapping[str, Any]) -> Iterator[str]:
    """The types of TOML that a value may have."""
    for each in node.get("anyOf", [node]):
        if each.get("format") == "date":
            yield "date"
        elif each.get("type") == "array":
            yield "list"
        elif "enum" in each or "const" in each:
            yield "text"
        else:
            yield _TYPES[each["type"]]


def _allowed(node: Mapping[str, Any]) -> Iterator[str]:
    """Bounds and words."""
    for each in node.get("anyOf", [node]):
        yield from (f'`"{word}"`' for word in each.get("enum", ()))
        if "const" in each:
            yield f'`"{each["const"]}"`'
        if each.get("type") == "boolean":
            yield "`true`, `false`"
        bounds = [
            f"{sign} {each[name]:,}"
            for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
            if name in each
        ]
        if bounds:
            yield " and ".join(bounds)
        if each.get("type") == "string" and ("minLength" in each or each.get("pattern") == r"\S"):
            yield "not empty"
        examples = [f"`{json.dumps(text)}`" for text in each.get("examples", ()) if text != node.get("default")]
        if examples:
            yield f"such as {', '.join(examples)}"
