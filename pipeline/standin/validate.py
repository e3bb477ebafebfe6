"""Bodies checked as strictly as the service does, in its order, and what they hold taken out of them.

The order: size, JSON, required fields, the model, its parameters, the messages, the number of images, each image
(base64 length, media type against its first bytes, whether it decodes), side lengths, the strict size mode.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.standin.blocks import check_messages, check_system, images_of, texts_of
from pipeline.standin.models import ModelFacts, find_model
from pipeline.standin.parameters import COUNTED, FIELDS, check_parameters
from pipeline.standin.prefix import Step, steps_of
from pipeline.standin.problems import Problem
from pipeline.standin.shapes import Kinds, check_fields
from pipeline.standin.vision import Files, SeenImage, look_at, no_files

__all__ = ["MAX_BODY", "Asked", "check_body", "read_body"]

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A body that passed.

    Attributes:
        model: the model's facts.
        images: what was seen, in order.
        steps: the prompt block by block, for its count and the cache.
        body: the whole, for what the answer depends on.
    """

    model: ModelFacts
    images: tuple[SeenImage, ...]
    steps: tuple[Step, ...]
    body: Mapping[str, Any] = field(repr=False)

    @property
    def input_tokens(self) -> int:
        """The whole prompt: text by a quarter of its characters, images by their patches."""
        return max(1, self.steps[-1].tokens)

    @property
    def last_text(self) -> str:
        """The text of the last user message."""
        users = [message for message in self.body["messages"] if message["role"] == "user"]
        return " ".join(texts_of(users[-1]["content"]))

    @property
    def has_results(self) -> bool:
        """Whether the newest message brings results of tools."""
        content = self.body["messages"][-1]["content"]
        return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)

    @property
    def asked_text(self) -> str:
        """The text of the newest message of the user that is no result of a tool."""
        for message in reversed(self.body["messages"]):
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts = [block["text"] for block in blocks if block["type"] == "text"]
            if message["role"] == "user" and texts:
                return " ".join(texts)
        return ""

    @property
    def prefill(self) -> str:
        """How the answer begins, where the last message is the assistant's."""
        last = self.body["messages"][-1]
        return " ".join(texts_of(last["content"])) if last["role"] == "assistant" else ""

    @property
    def turns(self) -> int:
        """How many messages are the user's."""
        return sum(message["role"] == "user" for message in self.body["messages"])


def read_body(raw: bytes, version: str, max_base64: int, *, counting: bool = False, files: Files = no_files) -> Asked:
    """Checks a body.

    Args:
        raw: the request's bytes.
        version: the API's version that it was sent with.
        max_base64: the most characters of one image's base64 text.
        counting: whether it is for `count_tokens`, which takes fewer fields.
        files: the bytes of an uploaded file.

    Raises:
        Problem: what the service would answer.
    """
    return check_body(_parsed(raw), version, max_base64, counting=counting, files=files)


def check_body(
    body: Mapping[str, Any], version: str, max_base64: int, *, counting: bool = False, files: Files = no_files
) -> Asked:
    """Checks a body that was parsed; as `read_body`.

    Raises:
        Problem: what the service would answer.
    """
    model = _model(body, counting)
    check_parameters(body, model, version)
    check_system(body)
    check_messages(body, model)
    blocks = images_of(body)
    images, tokens = look_at(blocks, model, max_base64, files)
    steps = steps_of(body, model.id, [(block, cost) for (_, block), cost in zip(blocks, tokens, strict=True)])
    if steps[-1].tokens > model.context:
        raise Problem.invalid(f"prompt is too long: {steps[-1].tokens} tokens > {model.context} maximum")
    return Asked(model, tuple(images), tuple(steps), body)


def _parsed(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > MAX_BODY:
        raise Problem.at_the_edge()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem.invalid(f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Problem.invalid("The request body must be a JSON object")
    return body


def _model(body: Mapping[str, Any], counting: bool) -> ModelFacts:
    required: dict[str, Kinds] = {"model": str, "messages": list, **({} if counting else {"max_tokens": int})}
    check_fields(body, "", required, COUNTED if counting else FIELDS)
    model = find_model(body["model"])
    if model is None:
        raise Problem.not_found(f"model: {body['model']}")
    most = body.get("max_tokens", 1)
    if most < 0:
        raise Problem.invalid("max_tokens: Input should be greater than or equal to 0")
    if most > model.max_tokens:
        raise Problem.invalid(
            f"max_tokens: {most} > {model.max_tokens}, which is the maximum allowed number of output tokens "
            f"for {model.id}"
        )
    return model
