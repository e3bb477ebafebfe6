"""The part of a request's body that is the same for every item: model, caps, sampling, system, schema, tools. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.api.catalogue import Model
from pipeline.api.messages import CACHE_MARK
from pipeline.settings import Config

__all__ = ["RECORD_TOOL", "TRUNCATED_FACTOR", "body_settings", "marked"]

TRUNCATED_FACTOR = 4
"""How much larger the cap is when `prompt.on_truncated = "retry"` asks again."""
RECORD_TOOL = "record_answer"
"""The tool whose forced call is the answer, with `prompt.schema_via = "tool"`."""
_AS_GIVEN = ("temperature", "top_p", "top_k", "stop_sequences", "service_tier", "thinking")


def body_settings(
    config: Config,
    model: Model,
    *,
    max_tokens: int | None = None,
    schema: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Everything of the body beside `messages`.

    Args:
        config: the configuration.
        model: what it may be asked.
        max_tokens: in the place of `api.max_tokens`; the cap is never above what the model can answer.
        schema: the part of `prompt.schema` that the service takes, for the turn that answers by it.
        tools: definitions of what the model may call.

    Sampling parameters are sent only where the configuration has them, so that every API version takes the body.
    Where thinking is on by default it is kept off or low, unless `api.thinking` says otherwise: thinking counts as
    output and would eat a caption's `max_tokens`.
    """
    cap = config.api.max_tokens if max_tokens is None else max_tokens
    if model.max_output_tokens is not None:
        cap = min(cap, model.max_output_tokens)
    settings: dict[str, Any] = {"model": config.api.model, "max_tokens": cap}
    for name in _AS_GIVEN:
        value = getattr(config.api, name)
        if value is not None:
            settings[name] = value
    if config.api.thinking is None:
        settings.update(model.quiet)
    if config.prompt.system and config.prompt.system.strip():
        settings["system"] = config.prompt.system
    if tools:
        settings["tools"] = [dict(tool) for tool in tools]
    return settings if schema is None else settings | _structured(settings, schema, config.prompt.schema_via)


def _structured(settings: Mapping[str, Any], schema: Mapping[str, Any], via: str) -> dict[str, Any]:
    if via == "output":
        output = {**settings.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}
        return {"output_config": output}
    tool = {
        "name": RECORD_TOOL,
        "description": "Records the answer.",
        "input_schema": schema,
        "strict": True,
    }
    choice = {"type": "tool", "name": RECORD_TOOL, "disable_parallel_tool_use": True}
    return {"tools": [*settings.get("tools", ()), tool], "tool_choice": choice}


def marked(settings: Mapping[str, Any], mark: Mapping[str, str] = CACHE_MARK) -> dict[str, Any]:
    """The same with the end of its cacheable part marked: the system prompt, else the last tool."""
    if "system" in settings:
        block = {"type": "text", "text": settings["system"], "cache_control": mark}
        return {**settings, "system": [block]}
    if "tools" in settings:
        *others, last = settings["tools"]
        return {**settings, "tools": [*others, {**last, "cache_control": mark}]}
    return dict(settings)
