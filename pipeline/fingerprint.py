"""The fingerprint: a hash of what shapes the answers, and of nothing else.

In it: model, `max_tokens`, sampling, stop sequences, thinking; the prompt's templates, system, prefill, examples,
schema and how it is sent, tools; which images go with which turn and whether they are labelled; the images' bounds and
quality. Not in it: endpoint, key, mode, transport, limits, retries, paths and `service_tier`: they change how an
answer is come by, not what is asked. A default that is written out gives the same fingerprint as one that is not.
"""

import json
from hashlib import sha256
from typing import Any

from pipeline.settings import Config

__all__ = ["fingerprint", "reuse_key"]

_API = ("max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "thinking")
_PROMPT = (
    "system",
    "user",
    "turn_images",
    "label_images",
    "prefill",
    "examples",
    "json_schema",
    "schema_via",
    "schema_retries",
    "on_truncated",
    "tools",
    "max_tool_turns",
)
_IMAGES = ("max_edge", "max_tokens", "quality")


def fingerprint(config: Config, model_id: str) -> str:
    """16 hex digits that are equal for equal questions.

    Args:
        config: the configuration.
        model_id: the model's full id, so that an alias and its model are one.
    """
    shape: dict[str, Any] = {
        "model": model_id,
        "api": {name: getattr(config.api, name) for name in _API},
        "prompt": {name: getattr(config.prompt, name) for name in _PROMPT},
        "images": {name: getattr(config.images, name) for name in _IMAGES},
        "image_column": config.manifest.image_column if config.prompt.turn_images is None else None,
    }
    if isinstance(config.prompt.user, str):
        shape["prompt"]["user"] = [config.prompt.user]
    if config.prompt.prefill is not None:
        shape["prompt"]["prefill"] = config.prompt.prefill.rstrip() or None
    text = json.dumps(shape, sort_keys=True, ensure_ascii=True, default=lambda value: value.model_dump())
    return sha256(text.encode()).hexdigest()[:16]


def reuse_key(mark: str, texts: tuple[str, ...], sent: tuple[tuple[str, ...], ...]) -> bytes:
    """32 bytes that are equal for equal requests.

    Args:
        mark: the fingerprint.
        texts: the rendered prompt of each turn.
        sent: the hashes of the bytes that are sent with each turn.
    """
    return sha256(json.dumps([mark, texts, sent]).encode("utf-8", "surrogatepass")).digest()
