"""What the shell offers when Tab is pressed: configurations, keys of `--set`, error types, misfortunes.

The shells' scripts are click's own: `eval "$(_PIPELINE_COMPLETE=bash_source pipeline)"`. Nothing here reads a
configuration or a dataset, and what costs time is imported when it is asked for.
"""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from pipeline.errors import ErrorType

__all__ = ["complete_config", "complete_error_type", "complete_fault", "complete_path", "complete_setting"]

_DEPTH = 2
"""Configurations are looked for so many folders below what was typed."""
_ENTRIES = 1000
"""... and among so many entries of each, so that a folder of images costs no wait."""
_SERVICE_TYPES = (
    "api_error",
    "authentication_error",
    "billing_error",
    "not_found_error",
    "overloaded_error",
    "permission_error",
    "rate_limit_error",
    "request_too_large",
    "timeout_error",
)


def complete_config(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Files that may be configurations, near what was typed; else whatever the shell finds."""
    del context, parameter
    folder = "".join(incomplete.rpartition("/")[:2])  # as it was typed, `./` included
    found = [CompletionItem(path) for path in _toml_files(folder, _DEPTH) if path.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def complete_path(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Files and folders, as the shell finds them."""
    del context, parameter
    return [CompletionItem(incomplete, type="file")]


def complete_setting(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """`SECTION.KEY=`, and behind the `=` the values of keys that have few."""
    del context, parameter
    from pipeline.config_schema import config_schema  # noqa: PLC0415 - only when it is asked for

    found = []
    for key, node in _keys(config_schema()):
        about = node["description"].partition("\n")[0]
        values = _values(node)
        if incomplete.startswith(f"{key}="):
            found += [CompletionItem(f"{key}={value}", help=about) for value in values]
        else:
            found.append(CompletionItem(f"{key}=", help=about))
    return [item for item in found if item.value.startswith(incomplete)]


def complete_error_type(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Our own types, and the service's."""
    del context, parameter
    names = sorted({*(str(each) for each in ErrorType), *_SERVICE_TYPES})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_fault(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The misfortunes that the stand-in knows."""
    del context, parameter
    from pipeline.standin.faults import NAMES  # noqa: PLC0415 - only when it is asked for

    return [CompletionItem(name) for name in sorted(NAMES) if name.startswith(incomplete)]


def _toml_files(folder: str, depth: int) -> Iterator[str]:
    """Paths that begin with `folder` as it is written, `/` included; what is hidden stays so."""
    try:
        with os.scandir(folder or ".") as entries:
            listed = sorted(islice(entries, _ENTRIES), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in listed:
        path = f"{folder}{entry.name}"
        if entry.name.startswith(".") or entry.name == "pyproject.toml":
            continue
        if entry.name.endswith(".toml"):
            yield path
        elif depth and entry.is_dir(follow_symlinks=False):
            yield from _toml_files(f"{path}/", depth - 1)


def _keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `SECTION.KEY` and its node."""
    for section, node in schema["properties"].items():
        if "$ref" in node:
            for key, each in schema["definitions"][node["$ref"].rpartition("/")[2]]["properties"].items():
                yield f"{section}.{key}", each


def _values(node: dict[str, Any]) -> list[str]:
    """The words that a key takes, where they can be listed."""
    words = [option for each in (node, *node.get("anyOf", ())) for option in each.get("enum", [])]
    words += [each["const"] for each in node.get("anyOf", ()) if "const" in each]
    return ["true", "false"] if node.get("type") == "boolean" else words
