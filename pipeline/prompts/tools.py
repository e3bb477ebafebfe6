"""`prompt.tools`: what the model may call while it captions, described to it and called for it.

An entry is `"module:function"` (the working directory is looked at last), `"zoom"`, or a table that is sent as it is
(a tool of the service's own design, such as computer use) with the function that answers it as `handler`. A function's
parameters become the schema, by pydantic, and are checked by it before the call; a parameter annotated as `ToolContext`
is given the item and is no part of it. A function gives back text, bytes of an image, a list of these, or anything that
JSON can say.

Functions run in worker threads and may run again for the same item when a run resumes: they should do no harm twice.
"""

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from pipeline.errors import ConfigError

__all__ = ["Tool", "ToolContext", "ToolFault", "load_tools"]

MAX_RESULT_CHARS = 100_000
_ZOOM = "zoom"
_NAME_CHARS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

Part = str | bytes
Crop = Callable[[int, tuple[float, float, float, float]], bytes]


class ToolFault(Exception):  # noqa: N818 - it is told to the model, and is no fault of this program
    """A call that cannot be answered; the model is told why."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The item that is being captioned, for a tool that asks for it.

    Attributes:
        item_id: of the manifest.
        columns: its row.
        original: the bytes of one of its images as they are at their source, counted from 1.
        crop: a part of one of them, ready to send, by shares of its width and height.
    """

    item_id: str
    columns: Mapping[str, Any] = field(repr=False)
    original: Callable[[int], bytes] = field(repr=False)
    crop: Crop = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        name: by which the model calls it.
        definition: what the service is told.
    """

    name: str
    definition: Mapping[str, Any]
    _function: Callable[..., Any] = field(repr=False)
    _input: type[BaseModel] | None = field(repr=False, default=None)
    _context: str | None = None

    def call(self, given: Mapping[str, Any], context: ToolContext) -> list[Part]:
        """Calls the function and gives back what it says.

        Raises:
            ToolFault: the input does not fit, or what came back cannot be sent.
            Exception: whatever the function raises.
        """
        return _parts(self._function(**self._arguments(given, context)))

    def _arguments(self, given: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        more = {self._context: context} if self._context else {}
        if self._input is None:
            return {"given": dict(given)} | more
        try:
            checked = self._input.model_validate(dict(given))
        except ValidationError as error:
            places = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
            raise ToolFault(f"the input does not fit: {'; '.join(places)[:500]}") from None
        return {name: getattr(checked, name) for name in type(checked).model_fields} | more


def load_tools(entries: Sequence[Any]) -> list[Tool]:
    """The tools of `prompt.tools`.

    Raises:
        ConfigError: one cannot be found, called or described, or two have one name.
    """
    tools = [_loaded(f"prompt.tools.{number}", entry) for number, entry in enumerate(entries)]
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f'prompt.tools: two tools have the name "{twice}"')
    return tools


def zoom(  # noqa: PLR0913, PLR0917 - what the model is asked for, field by field
    context: ToolContext,
    left: Annotated[float, Field(ge=0, le=1, description="share of the width where the part begins")],
    top: Annotated[float, Field(ge=0, le=1, description="share of the height where it begins")],
    width: Annotated[float, Field(gt=0, le=1, description="its share of the width")],
    height: Annotated[float, Field(gt=0, le=1, description="its share of the height")],
    image: Annotated[int, Field(ge=1, description="which image, counted from 1")] = 1,
) -> bytes:
    """Shows a part of an image at its full resolution, for small text and other details that are too small to see."""
    return context.crop(image, (left, top, min(1.0, left + width), min(1.0, top + height)))


def _loaded(key: str, entry: Any) -> Tool:
    if entry == _ZOOM:
        return _described(key, zoom)
    if isinstance(entry, str):
        return _described(key, _function(key, entry))
    if isinstance(entry, Mapping):
        return _passed_through(key, entry)
    raise ConfigError(f'{key}: allowed: "zoom", "module:function", or a tool\'s definition with its handler')


def _function(key: str, text: str) -> Callable[..., Any]:
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise ConfigError(f'{key}: found "{text}"; allowed: "zoom", or "module:function"')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # a module beside the configuration; last, so that it shadows nothing
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # importing runs the user's own code, which may raise anything
        raise ConfigError(f"{key}: {text} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{key}: {text} is no function")
    function: Callable[..., Any] = found
    return function


def _described(key: str, function: Callable[..., Any]) -> Tool:
    """A tool whose schema comes from the function's signature, and its description from the docstring."""
    name = getattr(function, "__name__", "")
    if not 1 <= len(name) <= 64 or set(name) - _NAME_CHARS:
        raise ConfigError(f'{key}: found the name "{name}"; allowed: letters, digits, _ and -, up to 64')
    try:
        hints = get_type_hints(function, include_extras=True)
        context = next((each for each, hint in hints.items() if hint is ToolContext), None)
        fields = _fields(key, function, hints, context)
        model = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        schema = model.model_json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"{key}: {name}: its parameters cannot be described: {text}") from error
    for part in (schema, *schema.get("properties", {}).values()):
        part.pop("title", None)
    schema.pop("description", None)
    about = inspect.getdoc(function) or name
    definition = {"name": name, "description": about, "input_schema": {"properties": {}, **schema}}
    return Tool(name, definition, function, model, context)


def _fields(key: str, function: Callable[..., Any], hints: Mapping[str, Any], context: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ConfigError(
                f"{key}: {name}: parameters must have names of their own, so that the model can give them"
            )
        if name != context:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    return fields


def _passed_through(key: str, entry: Mapping[str, Any]) -> Tool:
    """A tool that the service describes itself; its handler takes the input as one dictionary, `given`."""
    definition = {name: value for name, value in entry.items() if name != "handler"}
    if not isinstance(entry.get("handler"), str) or not isinstance(definition.get("name"), str):
        raise ConfigError(f'{key}: allowed: a tool\'s definition with its name, and handler = "module:function"')
    function = _function(f"{key}.handler", entry["handler"])
    try:
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"{key}.handler: its parameters cannot be read: {error}") from error
    context = next((name for name, hint in hints.items() if hint is ToolContext), None)
    if "given" not in parameters:
        raise ConfigError(f"{key}.handler: allowed: a function with a parameter `given`, the input as a dictionary")
    return Tool(definition["name"], definition, function, None, context)


def _parts(value: Any) -> list[Part]:
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, list | tuple) and any(isinstance(each, bytes) for each in value):
        return [part for each in value for part in _parts(each)]
    if inspect.isawaitable(value):
        raise ToolFault("the tool is a coroutine function, which is not called here")
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise ToolFault(f"the tool gave back a {type(value).__name__}, which cannot be sent") from None
    return [text[:MAX_RESULT_CHARS] if text.strip() else "(nothing)"]
