"""The messages of a body: roles, content blocks and cache breakpoints, each with the fields that the API takes."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.standin.models import ModelFacts
from pipeline.standin.problems import Problem
from pipeline.standin.shapes import Kinds, check_choice, check_fields

__all__ = ["Block", "check_messages", "check_system", "images_of", "texts_of"]

Block = Mapping[str, Any]
_NULL = type(None)
_CACHE: Mapping[str, Kinds] = {"cache_control": (dict, _NULL)}
_SHAPES: Mapping[str, tuple[Mapping[str, Kinds], Mapping[str, Kinds]]] = {
    "text": ({"text": str}, {**_CACHE, "citations": (list, _NULL)}),
    "image": ({"source": dict}, {**_CACHE, "transformations": (dict, _NULL)}),
    "tool_use": ({"id": str, "name": str, "input": dict}, {**_CACHE, "caller": dict}),
    "tool_result": ({"tool_use_id": str}, {**_CACHE, "content": (str, list), "is_error": bool}),
    "document": (
        {"source": dict},
        {**_CACHE, "title": (str, _NULL), "context": (str, _NULL), "citations": (dict, _NULL)},
    ),
    "thinking": ({"thinking": str, "signature": str}, {}),
    "redacted_thinking": ({"data": str}, {}),
}
_ROLE_BLOCKS = {
    "user": ("text", "image", "tool_result", "document"),
    "assistant": ("text", "tool_use", "thinking", "redacted_thinking"),
}
_MOST_MESSAGES = 100_000
_MOST_BREAKPOINTS = 4


def check_system(body: Mapping[str, Any]) -> None:
    """Checks the system prompt where it is a list of text blocks.

    Raises:
        Problem: 400 that names the block.
    """
    if isinstance(body.get("system"), list):
        _blocks(body["system"], "system", ("text",))


def check_messages(body: Mapping[str, Any], model: ModelFacts) -> None:
    """Checks the conversation, its prefill and its cache breakpoints.

    Raises:
        Problem: 400 that names the message or block.
    """
    messages = body["messages"]
    if not 1 <= len(messages) <= _MOST_MESSAGES:
        raise Problem.invalid(f"messages: from 1 to {_MOST_MESSAGES} messages are allowed")
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        check_fields(message, where, {"role": str, "content": (str, list)}, {})
        check_choice(message["role"], f"{where}.role", ("user", "assistant"))
        is_prefill = message["role"] == "assistant" and index == len(messages) - 1
        if not message["content"] and not is_prefill:
            raise Problem.invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        if isinstance(message["content"], list):
            _blocks(message["content"], f"{where}.content", _ROLE_BLOCKS[message["role"]])
    _results(messages)
    if messages[0]["role"] != "user":
        raise Problem.invalid('messages: first message must use the "user" role')
    if messages[-1]["role"] == "assistant":
        _prefill(body, messages[-1], model)
    _breakpoints(body)


def images_of(body: Mapping[str, Any]) -> list[tuple[str, Block]]:
    """Every image block with its place, in order, those within tool results too."""
    found = []
    for index, message in enumerate(body["messages"]):
        found += _images(message["content"], f"messages.{index}.content")
    return found


def texts_of(part: object) -> Iterator[str]:
    """Every text that counts as prompt: all strings but those of images, types, roles and cache marks."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        if part.get("type") != "image":
            for key, value in part.items():
                if key not in ("type", "role", "cache_control"):
                    yield from texts_of(value)
    elif isinstance(part, list):
        for value in part:
            yield from texts_of(value)


def _images(content: object, where: str) -> list[tuple[str, Block]]:
    found: list[tuple[str, Block]] = []
    for index, block in enumerate(content if isinstance(content, list) else ()):
        if block["type"] == "image":
            found.append((f"{where}.{index}", block))
        elif block["type"] == "tool_result":
            found += _images(block.get("content"), f"{where}.{index}.content")
    return found


def _blocks(blocks: list[object], where: str, allowed: tuple[str, ...]) -> None:
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in allowed:
            raise Problem.invalid(f"{place}: Input tag {kind!r} does not match any of the expected tags: {allowed}")
        required, optional = _SHAPES[kind]
        given = check_fields(block, f"{place}.{kind}", {"type": str, **required}, optional)
        if kind == "text" and not given["text"].strip():
            raise Problem.invalid(f"{place}: text content blocks must be non-empty")
        if given.get("transformations") is not None:
            check_fields(given["transformations"], f"{place}.image.transformations", {}, {"oversized_image": str})
            mode = given["transformations"].get("oversized_image", "downsize")
            check_choice(mode, f"{place}.image.transformations.oversized_image", ("downsize", "error"))
        if isinstance(given.get("content"), list):
            _blocks(given["content"], f"{place}.{kind}.content", ("text", "image", "document"))


def _results(messages: list[Any]) -> None:
    """Checks that every call of a tool is answered in the next message, and nothing else is."""
    called: list[str] = []
    for index, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        missing = [name for name in called if name not in answered]
        if missing:
            raise Problem.invalid(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        strange = [name for name in answered if name not in called]
        if strange:
            raise Problem.invalid(
                f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(strange)}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        called = [block["id"] for block in blocks if block["type"] == "tool_use"]


def _prefill(body: Mapping[str, Any], message: Block, model: ModelFacts) -> None:
    if not model.prefill:
        raise Problem.invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    text = "".join(texts_of(message["content"]))
    if text != text.rstrip():
        raise Problem.invalid("messages: final assistant content cannot end with trailing whitespace")
    if (body.get("output_config") or {}).get("format") is not None:
        raise Problem.invalid("output_config.format: structured outputs cannot be combined with a prefill")
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        raise Problem.invalid("messages: a prefill cannot be combined with thinking")


def _breakpoints(body: Mapping[str, Any]) -> None:
    """Checks every cache mark: its shape, their number, and that longer lives come first."""
    marked = [("cache_control", body)] if body.get("cache_control") is not None else []
    lives = []
    for where, block in [*_markable(body), *marked]:
        mark = block.get("cache_control")
        if mark is None:
            continue
        place = where if where == "cache_control" else f"{where}.cache_control"
        check_fields(mark, place, {"type": str}, {"ttl": str})
        check_choice(mark["type"], f"{place}.type", ("ephemeral",))
        check_choice(mark.get("ttl", "5m"), f"{place}.ttl", ("5m", "1h"))
        lives.append(mark.get("ttl", "5m"))
        if lives[-1] == "1h" and "5m" in lives:
            raise Problem.invalid(f"{place}.ttl: a ttl='1h' block must not come after a ttl='5m' block")
    if len(lives) > _MOST_BREAKPOINTS:
        raise Problem.invalid(
            f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {len(lives)}."
        )


def _markable(body: Mapping[str, Any]) -> Iterator[tuple[str, Block]]:
    parts = [("tools", body.get("tools")), ("system", body.get("system"))]
    parts += [(f"messages.{index}.content", message["content"]) for index, message in enumerate(body["messages"])]
    for where, blocks in parts:
        if isinstance(blocks, list):
            yield from ((f"{where}.{index}", block) for index, block in enumerate(blocks))
