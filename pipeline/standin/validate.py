"""Bodies checked as strictly as the service does, in its order, and what they hold taken out of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.standin.models import ModelFacts, find_model
from pipeline.standin.problems import Problem
from pipeline.standin.vision import SeenImage, is_many, look

__all__ = ["Asked", "read_body"]

MAX_BODY = 32 * 1024 * 1024
_FIELDS = {
    "model",
    "max_tokens",
    "messages",
    "system",
    "metadata",
    "stop_sequences",
    "stream",
    "service_tier",
    "thinking",
    "output_config",
    "tools",
    "tool_choice",
    "cache_control",
    "inference_geo",
    "speed",
    "diagnostics",
    "temperature",
    "top_p",
    "top_k",
}
_NEWEST = "2026-10-21"


@dataclass(frozen=True, slots=True)
class Asked:
    """A body that passed.

    Attributes:
        model: the model's facts.
        name: the model as it was asked for.
        images: what was seen, in order.
        input_tokens: text by a quarter of its characters, images by their patches.
        body: the whole, for what the answer depends on.
    """

    model: ModelFacts
    name: str
    images: tuple[SeenImage, ...]
    input_tokens: int
    body: Mapping[str, Any]

    @property
    def last_text(self) -> str:
        """The text of the last user message."""
        users = [message for message in self.body["messages"] if message["role"] == "user"]
        return " ".join(_texts(users[-1]["content"])) if users else ""

    @property
    def prefill(self) -> str:
        """How the answer begins, where the last message is the assistant's."""
        last = self.body["messages"][-1]
        return " ".join(_texts(last["content"])) if last["role"] == "assistant" else ""


def read_body(raw: bytes, version: str, max_base64: int, *, counting: bool = False) -> Asked:
    """Checks a body.

    Raises:
        Problem: what the service would answer.
    """
    body = _parsed(raw)
    model = _model(body, counting)
    _parameters(body, model, version)
    blocks = _messages(body["messages"], model)
    if len(blocks) > model.images:
        raise Problem.invalid(f"messages: at most {model.images} images are allowed, found {len(blocks)}")
    images, tokens = [], 0
    for where, block in blocks:
        seen, cost = look(block, where, is_many(len(blocks)), max_base64, model)
        images.append(seen)
        tokens += cost
    words = sum(len(text) for part in (body.get("system"), body.get("tools")) for text in _texts(part))
    words += sum(len(text) for message in body["messages"] for text in _texts(message["content"]))
    tokens += -(-words // 4)
    if tokens > model.context:
        raise Problem.invalid(f"prompt is too long: {tokens} tokens > {model.context} maximum")
    return Asked(model, body["model"], tuple(images), max(1, tokens), body)


def _parsed(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BODY:
        raise Problem(413, "Request exceeds the maximum size")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem.invalid(f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Problem.invalid("The request body must be an object")
    return body


def _model(body: Mapping[str, Any], counting: bool) -> ModelFacts:
    for name in ("model", "messages", *(() if counting else ("max_tokens",))):
        if name not in body:
            raise Problem.invalid(f"{name}: Field required")
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise Problem.invalid(f"{unknown[0]}: Extra inputs are not permitted")
    if not isinstance(body["model"], str):
        raise Problem.invalid("model: Input should be a valid string")
    model = find_model(body["model"])
    if model is None:
        raise Problem.not_found(f"model: {body['model']}")
    most = body.get("max_tokens", 1)
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise Problem.invalid("max_tokens: Input should be greater than or equal to 0")
    if most > model.max_tokens:
        raise Problem.invalid(f"max_tokens: {most} > {model.max_tokens}, the maximum for {model.id}")
    return model


def _parameters(body: Mapping[str, Any], model: ModelFacts, version: str) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name in body and (version >= _NEWEST or not model.sampling):
            raise Problem.invalid(f"{name}: this parameter is deprecated for this model")
    if "haiku-4-5" in model.id and "temperature" in body and "top_p" in body:
        raise Problem.invalid("temperature and top_p cannot both be specified for this model")
    temperature = body.get("temperature", 1)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature <= 1:
        raise Problem.invalid("temperature: Input should be between 0 and 1")
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        _thinking(thinking, body, model)
    choice = body.get("tool_choice") or {}
    if choice.get("type") in ("any", "tool") and not model.forced_tools:
        raise Problem.invalid("tool_choice: forced tool use is not supported on this model")
    if body.get("stream"):
        raise Problem.invalid("stream: this server answers whole messages only")


def _thinking(thinking: Mapping[str, Any], body: Mapping[str, Any], model: ModelFacts) -> None:
    kind = thinking.get("type")
    if kind not in model.thinking:
        raise Problem.invalid(f"thinking.type: '{kind}' is not supported on this model")
    budget = thinking.get("budget_tokens")
    if kind == "enabled" and not (isinstance(budget, int) and 1024 <= budget < body.get("max_tokens", 0)):
        raise Problem.invalid("thinking.enabled.budget_tokens: must be at least 1024 and less than max_tokens")


def _messages(messages: object, model: ModelFacts) -> list[tuple[str, Mapping[str, Any]]]:
    """Checks the messages; the image blocks with their places."""
    if not isinstance(messages, list) or not messages:
        raise Problem.invalid("messages: at least one message is required")
    images = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Problem.invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        images += _content(message.get("content"), where, is_last=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        raise Problem.invalid("messages: first message must use the user role")
    last = messages[-1]
    if last["role"] == "assistant":
        if not model.prefill:
            raise Problem.invalid(
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        if "".join(_texts(last["content"])).rstrip() != "".join(_texts(last["content"])):
            raise Problem.invalid("messages: final assistant content cannot end with trailing whitespace")
    return images


def _content(content: object, where: str, *, is_last: bool) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(content, str):
        if not content.strip() and not is_last:
            raise Problem.invalid(f"{where}: all messages must have non-empty content")
        return []
    if not isinstance(content, list) or not content:
        raise Problem.invalid(f"{where}.content: Input should be a non-empty list or a string")
    images: list[tuple[str, Mapping[str, Any]]] = []
    for index, block in enumerate(content):
        place = f"{where}.content.{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            if not isinstance(block.get("text"), str) or not block["text"].strip():
                raise Problem.invalid(f"{place}.text: text content blocks must be non-empty")
        elif kind == "image":
            images.append((f"{place}.image", block))
        elif kind == "tool_result" and isinstance(block.get("content"), list):
            images += _content(block["content"], place, is_last=False)
        elif kind not in ("tool_use", "tool_result", "document", "thinking", "redacted_thinking"):
            raise Problem.invalid(f"{place}.type: unknown content block type {kind!r}")
    return images


def _texts(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    if isinstance(part, Mapping):
        if part.get("type") == "image":
            return []
        return [text for key, value in part.items() if key not in ("type", "role") for text in _texts(value)]
    return [text for value in part for text in _texts(value)] if isinstance(part, list) else []
