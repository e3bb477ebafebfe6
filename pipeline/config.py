"""Reading the configuration: file, environment and `--set` become one frozen `Config`.

`--set` wins over `PIPELINE__SECTION__KEY`, that over the file. Every error names the key, what was found and what
is allowed; all of them are reported at once. Secrets never enter: the file holds the *name* of the key's variable.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError
from pipeline.settings import Config, Endpoint, Example

__all__ = ["EMBEDDED", "api_key", "effective", "load_config", "prompt_text"]

EMBEDDED = "embedded"
_PREFIX = "PIPELINE__"
_MASK = "***"
_SECRET_WORDS = ("key", "auth", "token", "secret", "cookie", "password", "credential", "signature")


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
        environ: where `PIPELINE__SECTION__KEY` is looked up.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key or value is wrong.
    """
    merged = _read_toml(Path(path))
    outside = [*_from_environment(environ), *(_from_set(text) for text in overrides)]
    for override in outside:
        _put(merged, override, override.value)
    try:
        return Config.model_validate(merged)
    except ValidationError as first:
        if not _texts_back(merged, outside, first):
            raise _explain(first, path) from None
    try:
        return Config.model_validate(merged)
    except ValidationError as second:
        raise _explain(second, path) from None


def effective(config: Config) -> dict[str, Any]:
    """The configuration as plain values for printing and for `runs/*.json`: every default shown, secrets masked."""
    plain: dict[str, Any] = config.model_dump(by_alias=True)
    api = plain["api"]
    api["base_url"] = _without_userinfo(api["base_url"])
    api["headers"] = {
        name: _MASK if any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in api["headers"].items()
    }
    for endpoint in api["endpoints"] or ():
        endpoint["base_url"] = _without_userinfo(endpoint["base_url"])
    return plain


def api_key(config: Config, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key to send, or `None` where the server needs none.

    Raises:
        ConfigError: the variable that `api.api_key_env` names is not set.
    """
    if config.api.auth == "none":
        return None
    name = config.api.api_key_env
    key = environ.get(name, "").strip()
    if key:
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"api.api_key_env: the key in ${name} holds characters that no header may carry")
        return key
    if config.api.base_url == EMBEDDED:
        return "embedded-needs-no-key"
    raise ConfigError(
        f"api.api_key_env: the environment variable {name} is not set; export it, name another variable, "
        'or set api.auth = "none" for a server that needs no key'
    )


def prompt_text(config: Config) -> list[str]:
    """`prompt.user` as a list, one text a turn."""
    return [config.prompt.user] if isinstance(config.prompt.user, str) else list(config.prompt.user)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file (working directory: {Path.cwd()})") from None
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error.strerror or error}") from error
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the configuration as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None


def _from_environment(environ: Mapping[str, str]) -> list[_Override]:
    found = []
    for name in sorted(environ):
        if not name.upper().startswith(_PREFIX):
            continue
        parts = tuple(part.lower() for part in name[len(_PREFIX) :].split("__"))
        if len(parts) < 2 or not all(parts):
            raise ConfigError(f"environment variable {name}: allowed is {_PREFIX}SECTION__KEY")
        found.append(_Override(f"environment variable {name}", parts, environ[name], _toml_value(environ[name])))
    return found


def _from_set(text: str) -> _Override:
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(f'--set "{text}": allowed is SECTION.KEY=VALUE, such as --set api.max_tokens=300')
    return _Override(f"--set {key}", parts, value, _toml_value(value.strip()))


def _toml_value(text: str) -> Any:
    """The TOML meaning of a value, or the bare text: dates and times stay texts, no key takes them."""
    if "\n" in text:
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def _put(tree: dict[str, Any], override: _Override, value: Any) -> None:
    node = tree
    for depth, part in enumerate(override.path[:-1]):
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{override.origin}: {'.'.join(override.path[: depth + 1])} is not a section")
        node = child
    node[override.path[-1]] = value


def _texts_back(tree: dict[str, Any], outside: list[_Override], error: ValidationError) -> bool:
    """Gives texts such as `--set api.model=7` back as texts where the key wants one; whether any was changed."""
    wanted = {tuple(map(str, part["loc"])) for part in error.errors() if part["type"] == "string_type"}
    changed = False
    for override in outside:
        if override.path in wanted and not isinstance(override.value, str):
            _put(tree, override, override.text)
            changed = True
    return changed


def _explain(error: ValidationError, path: str | Path) -> ConfigError:
    lines = [_explain_one(part) for part in error.errors(include_url=False)]
    lines = list(dict.fromkeys(lines))
    head = f"{path}: {lines[0]}" if len(lines) == 1 else f"{path}: {len(lines)} problems\n  " + "\n  ".join(lines)
    return ConfigError(head)


def _explain_one(part: Mapping[str, Any]) -> str:
    key = ".".join(str(step) for step in part["loc"])
    if part["type"] == "missing":
        return f"{key}: required, and not given"
    if part["type"] == "extra_forbidden":
        return _unknown_key(part["loc"])
    message = part["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if part["type"] == "value_error" and not key:
        return message
    if not message.startswith(("allowed", "found")):
        message = f"allowed: {message}"
    if message.startswith("found"):
        return f"{key}: {message}"
    return f"{key}: found {_shown(part.get('input'))}; {message}"


def _unknown_key(loc: tuple[Any, ...]) -> str:
    allowed = sorted(_keys_at(loc[:-1]))
    close = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    kind = "section" if len(loc) == 1 else "key"
    return f"{'.'.join(map(str, loc))}: unknown {kind}; {hint}allowed: {', '.join(allowed)}"


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for step in loc:
        if step in ("endpoints", "examples"):
            model = Endpoint if step == "endpoints" else Example
        elif isinstance(step, str) and step in model.model_fields:
            annotation = model.model_fields[step].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _without_userinfo(url: str) -> str:
    try:
        parts = urlsplit(url)
        if "@" not in parts.netloc and not parts.query:
            return url
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=_MASK if parts.query else ""))
    except ValueError:
        return _MASK
