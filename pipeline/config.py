"""Reading the configuration: file, environment and `--set` become one frozen `Config`.

`--set` wins over `PIPELINE__SECTION__KEY`, that over the file. Every error names the key, what was found and what
is allowed; all of them are reported at once. Secrets never enter: the file holds the *name* of the key's variable.
"""

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.explaining import MASK, explained, found
from pipeline.settings import Config
from pipeline.urls import EMBEDDED, masked_url

__all__ = ["EMBEDDED", "api_keys", "effective", "load_config", "prompt_text", "unbuilt"]

_PREFIX = "PIPELINE__"
_OPEN_HEADERS = {"accept", "accept-language", "anthropic-beta", "anthropic-version", "standin-look", "user-agent"}
"""Headers that are shown; the values of all others may be secrets."""


@dataclass(frozen=True, slots=True)
class _Override:
    """One value from outside the file: where it came from, the key's path, its text and its TOML meaning."""

    origin: str
    path: tuple[str, ...]
    text: str
    value: Any


def load_config(
    path: str | Path,
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """The configuration of a run.

    Args:
        path: the TOML file.
        overrides: `SECTION.KEY=VALUE` texts, as given by `--set`; later ones win.
        environ: where `PIPELINE__SECTION__KEY` is looked up; an empty value is the empty text.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key or value is wrong.
    """
    tree = _read_toml(Path(path))
    outside = [*_from_environment(environ), *(_from_set(text) for text in overrides)]
    for override in outside:
        _put(tree, override, override.value)
    _inline_schema(tree)
    for name, field in Config.model_fields.items():
        if field.is_required():
            tree.setdefault(name, {})  # so that what is missing is named key by key
    latest = {override.path: override for override in outside}
    result = _validated(tree)
    if isinstance(result, ValidationError):
        result = _texts_back(tree, latest, result)
    if isinstance(result, ValidationError):
        raise explained(result, path, {key: override.origin for key, override in latest.items()})
    return result


def effective(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values for printing and for `runs/*.json`: defaults shown, secrets masked."""
    plain: dict[str, Any] = config.model_dump(mode="json", by_alias=True)
    api = plain["api"]
    api["headers"] = {name: value if name.lower() in _OPEN_HEADERS else MASK for name, value in api["headers"].items()}
    for place in (api, *(api["endpoints"] or ())):
        place["base_url"] = masked_url(place["base_url"])
    places = [(plain["manifest"], "path"), (plain["manifest"], "root"), (plain["output"], "path")]
    for section, key in [*places, *((example, "image") for example in plain["prompt"]["examples"] or ())]:
        if "://" in (section[key] or ""):
            section[key] = masked_url(section[key])
    return plain


def api_keys(config: Config, environ: Mapping[str, str] = os.environ) -> tuple[str | None, ...]:
    """The key to send to each endpoint, or `None` where it needs none. The embedded one never sees the real one.

    Raises:
        ConfigError: a variable that `api_key_env` names is not set.
    """
    api = config.api
    places = [(f"api.endpoints.{at}.", each.api_key_env) for at, each in enumerate(api.endpoints or ())]
    if api.auth == "none":
        return (None,) * (len(places) or 1)
    if not places and api.base_url == EMBEDDED:
        return ("embedded-needs-no-key",)
    return tuple(_key(f"{place}api_key_env", name, environ) for place, name in places or [("api.", api.api_key_env)])


def _key(place: str, name: str, environ: Mapping[str, str]) -> str:
    key = environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"{place}: the environment variable {name} is not set; export it, name another variable, "
            'or set api.auth = "none" for a server that needs no key'
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{place}: the key in ${name} holds characters that no header may carry")
    return key


def prompt_text(config: Config) -> list[str]:
    """`prompt.user` as a list, one text a turn."""
    return [config.prompt.user] if isinstance(config.prompt.user, str) else list(config.prompt.user)


def unbuilt(config: Config) -> list[str]:
    """Keys whose value asks for what this version does not have, a line each: refused, never silently ignored."""
    chosen = [
        ("output.format", config.output.format, "parquet"),
    ]
    lines = [
        f"{key}: found {found(value)}; not built yet, allowed: {found(only)}"
        for key, value, only in chosen
        if value != only
    ]
    return lines + _endpoints(config)


def _endpoints(config: Config) -> list[str]:
    """What several endpoints do not go together with."""
    endpoints = config.api.endpoints
    if endpoints is None:
        return []
    lines = []
    if not endpoints:
        lines.append("api.endpoints: found an empty list; allowed: at least one table, or none of them")
    if EMBEDDED in (config.api.base_url, *(each.base_url for each in endpoints)):
        lines.append(f'api.endpoints: found "{EMBEDDED}" with it; allowed: addresses of servers, without it')
    if config.images.transport == "file" and len(endpoints) > 1:
        lines.append(
            'images.transport: found "file" with several api.endpoints; allowed: "base64", "url": ids of files '
            "belong to one account"
        )
    if config.api.mode != "messages" and len(endpoints) > 1:
        lines.append(
            f"api.mode: found {found(config.api.mode)} with several api.endpoints; allowed: one of them: batches "
            "belong to one account"
        )
    return lines


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file (working directory: {Path.cwd()})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: the configuration cannot be read: {reason}") from error
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the configuration as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None


def _inline_schema(tree: dict[str, Any]) -> None:
    """Puts the schema of a file into the place of its path, so that the fingerprint takes what it says."""
    prompt = tree.get("prompt")
    path = prompt.get("schema") if isinstance(prompt, dict) else None
    if not isinstance(path, str) or not path:
        return
    place = f"prompt.schema: {path}"
    try:
        schema = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror} (working directory: {Path.cwd()})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{place}: allowed: a JSON object")
    tree["prompt"] = {**(prompt or {}), "schema": schema}


def _from_environment(environ: Mapping[str, str]) -> list[_Override]:
    overrides = []
    for name in sorted(environ):
        if not name.upper().startswith(_PREFIX):
            continue
        parts = tuple(part.lower() for part in name[len(_PREFIX) :].split("__"))
        origin = f"environment variable {name}"
        if len(parts) < 2 or not all(parts):
            raise ConfigError(f"{origin}: allowed is {_PREFIX}SECTION__KEY")
        overrides.append(_override(origin, parts, environ[name]))
    return overrides


def _from_set(text: str) -> _Override:
    key, equals, value = text.partition("=")
    parts = _key_path(key) if equals else ()
    if not parts:
        raise ConfigError(f"--set {found(text)}: allowed is SECTION.KEY=VALUE, such as --set api.max_tokens=300")
    return _override(f"--set {key.strip()}", parts, value)


def _override(origin: str, path: tuple[str, ...], text: str) -> _Override:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{origin}: the value is not UTF-8") from None
    return _Override(origin, path, text, _toml_value(text))


def _key_path(text: str) -> tuple[str, ...]:
    """The parts of a TOML key, quoted ones such as `models."llama3.2".input` included; empty where it is none."""
    if "\n" in text:
        return ()
    try:
        node: Any = tomllib.loads(f"{text} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        return ()
    parts = []
    while isinstance(node, dict) and len(node) == 1:
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts) if len(parts) >= 2 and all(parts) and node == 0 else ()


def _toml_value(text: str) -> Any:
    """The TOML meaning of a value, or the bare text: dates and times stay texts, no key takes them."""
    try:
        table = tomllib.loads(f"value = {text.strip()}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    value = table.pop("value", None)
    return text if table or not isinstance(value, bool | int | float | str | list | dict) else value


def _put(tree: dict[str, Any], override: _Override, value: Any) -> None:
    node = tree
    for depth, part in enumerate(override.path[:-1]):
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{override.origin}: {'.'.join(override.path[: depth + 1])} is not a table")
        node = child
    node[override.path[-1]] = value


def _validated(tree: dict[str, Any]) -> Config | ValidationError:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        return error


def _texts_back(
    tree: dict[str, Any], latest: Mapping[tuple[str, ...], _Override], error: ValidationError
) -> Config | ValidationError:
    """Tries values such as `--set api.model=7` as texts where their TOML meaning does not fit; keeps what helps."""
    given = [latest[place] for place in _places(error) if place in latest]
    doubtful = [override for override in given if isinstance(override.value, bool | int | float)]
    for override in doubtful:
        _put(tree, override, override.text)
    result = _validated(tree)
    if not isinstance(result, ValidationError):
        return result
    wrong = _places(result)
    for override in doubtful:
        if override.path in wrong:
            _put(tree, override, override.value)
    return _validated(tree)


def _places(error: ValidationError) -> set[tuple[str, ...]]:
    return {tuple(map(str, part["loc"])) for part in error.errors(include_url=False)}
