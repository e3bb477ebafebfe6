"""The part of a request's body that is the same for every item: model, caps, sampling, system, thinking. Pure."""

from typing import Any

from pipeline.api.catalogue import Model
from pipeline.settings import Config

__all__ = ["TRUNCATED_FACTOR", "body_settings"]

TRUNCATED_FACTOR = 4
"""How much larger the cap is when `prompt.on_truncated = "retry"` asks again."""
_AS_GIVEN = ("temperature", "top_p", "top_k", "stop_sequences", "service_tier", "thinking")


def body_settings(config: Config, model: Model, *, max_tokens: int | None = None) -> dict[str, Any]:
    """Everything of the body beside `messages`; `max_tokens` in the place of `api.max_tokens` where given.

    The cap is never above what the model can answer.

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
    return settings
