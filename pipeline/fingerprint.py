"""The fingerprint: a hash of what shapes the answers, and of nothing else.

In it: model, `max_tokens`, sampling, stop sequences, thinking; the prompt's templates, system, prefill, examples,
schema and how it is sent, tools, what becomes of a truncated answer; which images go with which turn and whether they
are labelled; the images' bounds and quality. Not in it: endpoint, key, mode, transport, limits, retries (those of the
schema too), paths and `service_tier`: they change how an answer is come by, not what is asked. A default that is
written out gives the same fingerprint as one that is not, and so does a key that has no effect without another.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from pipeline.settings import Config, Example

__all__ = ["fingerprint", "reuse_key"]

_API = ("max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "thinking")
_PROMPT = ("turn_images", "label_images", "json_schema", "on_truncated", "tools")
_IMAGES = ("max_edge", "max_tokens", "quality")


def fingerprint(config: Config, model_id: str, examples: Sequence[str] = ()) -> str:
    """16 hex digits that are equal for equal questions.

    Args:
        config: the configuration.
        model_id: the model's full id, so that an alias and its model are one.
        examples: the SHA-256 of the image of each of `prompt.examples`, which stand for their paths.
    """
    prompt = config.prompt
    shape: dict[str, Any] = {
        "model": model_id,
        "api": {name: getattr(config.api, name) for name in _API},
        "prompt": {name: getattr(prompt, name) for name in _PROMPT} | {"examples": _shown(prompt.examples, examples)},
        "system": prompt.system or None,
        "user": [prompt.user] if isinstance(prompt.user, str) else prompt.user,
        "prefill": (prompt.prefill or "").rstrip() or None,
        "schema_via": prompt.schema_via if prompt.json_schema is not None else None,
        "max_tool_turns": prompt.max_tool_turns if prompt.tools is not None else None,
        "images": {name: getattr(config.images, name) for name in _IMAGES},
        "image_column": config.manifest.image_column if prompt.turn_images is None else None,
    }
    text = json.dumps(shape, sort_keys=True, ensure_ascii=True)
    return sha256(text.encode()).hexdigest()[:16]


def _shown(examples: Sequence[Example] | None, hashes: Sequence[str]) -> list[list[str]] | None:
    """What the examples show: the picture itself where its hash is known, else its path."""
    if not examples:
        return None
    images = hashes or [each.image for each in examples]
    return [[image, each.user, each.assistant.rstrip()] for image, each in zip(images, examples, strict=True)]


def reuse_key(mark: str, texts: tuple[str, ...], sent: tuple[tuple[str, ...], ...]) -> bytes:
    """32 bytes that are equal for equal requests.

    Args:
        mark: the fingerprint.
        texts: the rendered prompt of each turn.
        sent: the hashes of the bytes that are sent with each turn.
    """
    return sha256(json.dumps([mark, texts, sent]).encode("utf-8", "surrogatepass")).digest()
