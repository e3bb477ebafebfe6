"""The answer to a body that passed: a caption that states what was measured, and honest usage."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.standin.caching import CacheUse
from pipeline.standin.models import ModelFacts
from pipeline.standin.schemas import sample
from pipeline.standin.validate import Asked

__all__ = ["Composed", "bill_nano", "compose"]

_THINKING_TOKENS = 64
_TOOL_TOKENS = 40
_CHARS_A_TOKEN = 4
_LONG_FACTOR = 5


@dataclass(frozen=True, slots=True)
class Composed:
    """A message, its output tokens, and what it bills in nano-dollars."""

    message: Mapping[str, Any]
    output_tokens: int
    bill_nano: int


def compose(asked: Asked, use: CacheUse, message_id: str, tier: str = "standard") -> Composed:
    """The message: the same for the same body, but for its id, its service tier and what the cache held."""
    room = int(asked.body["max_tokens"])
    thinking = min(room, _THINKING_TOKENS) if _thinks(asked) else 0
    content: list[dict[str, Any]] = []
    if thinking:
        content.append({"type": "thinking", "thinking": "", "signature": "c3RhbmQtaW4="})
    tools = [tool] if (tool := _forced_tool(asked)) is not None else _named_tools(asked)
    if tools and room - thinking >= _TOOL_TOKENS * len(tools):
        content += [_tool_use(tool, _wanted(asked), f"{message_id}{at}") for at, tool in enumerate(tools)]
        stop, hit, used = "tool_use", None, thinking + _TOOL_TOKENS * len(tools)
    else:
        text, stop, hit = _cut(_wanted(asked), room - thinking, asked.body.get("stop_sequences") or ())
        used = thinking + -(-len(text) // _CHARS_A_TOKEN)
        content += [{"type": "text", "text": text, "citations": None}] if text else []
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": f"{asked.model.id} (stand-in{_seer(asked)})",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": hit,
        "stop_details": None,
        "container": None,
        "diagnostics": None,
        "usage": {**_usage(use, used, thinking), "service_tier": tier},
    }
    return Composed(message, used, bill_nano(asked.model, use, used))


def bill_nano(model: ModelFacts, use: CacheUse, output_tokens: int) -> int:
    """What an answer costs, in nano-dollars: writes at 1.25 (5 minutes) and 2 (1 hour) times the input price."""
    quarters = 4 * use.uncached + 5 * use.written_5m + 8 * use.written_1h
    nano = quarters * model.input_nano // 4 + use.read * model.read_nano + output_tokens * model.output_nano
    return nano * _LONG_FACTOR if model.long_over and use.prompt > model.long_over else nano


def _usage(use: CacheUse, output_tokens: int, thinking: int) -> dict[str, Any]:
    return {
        "input_tokens": use.uncached,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": use.written_5m + use.written_1h,
        "cache_read_input_tokens": use.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": use.written_5m,
            "ephemeral_1h_input_tokens": use.written_1h,
        },
        "output_tokens_details": {"thinking_tokens": thinking},
        "server_tool_use": None,
        "inference_geo": None,
        "speed": None,
    }


def _seer(asked: Asked) -> str:
    """The model that has looked at the pictures, where one has."""
    return ", EfficientNet-lite0" if any(image.likely is not None for image in asked.images) else ""


def _wanted(asked: Asked) -> str:
    sentences = [image.sentence for image in asked.images]
    if not sentences:
        text = f"No picture was sent; the prompt's sha256 is {sha256(asked.last_text.encode()).hexdigest()[:12]}."
    elif len(sentences) == 1:
        text = f"A {sentences[0]}."
    else:
        text = " ".join(f"Image {number}: a {sentence}." for number, sentence in enumerate(sentences, 1))
    schema = ((asked.body.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is not None:
        return json.dumps(sample(schema, text))
    return f" {text}" if asked.prefill else text


def _cut(text: str, room: int, stops: Sequence[str]) -> tuple[str, str, str | None]:
    """The text up to its room or its first stop sequence, the reason why it ends, and the sequence."""
    kept = text[: room * _CHARS_A_TOKEN]
    hits = [(kept.index(stop), stop) for stop in stops if stop in kept]
    if hits:
        at, stop = min(hits)
        return kept[:at], "stop_sequence", stop
    return kept, "max_tokens" if len(kept) < len(text) else "end_turn", None


def _thinks(asked: Asked) -> bool:
    kind = (asked.body.get("thinking") or {}).get("type")
    return kind in ("adaptive", "enabled") or (kind is None and asked.model.thinks)


def _forced_tool(asked: Asked) -> Mapping[str, Any] | None:
    choice = asked.body.get("tool_choice") or {}
    if choice.get("type") not in ("any", "tool"):
        return None
    tools: list[Mapping[str, Any]] = asked.body["tools"]
    return next((tool for tool in tools if tool["name"] == choice.get("name")), tools[0])


def _named_tools(asked: Asked) -> list[Mapping[str, Any]]:
    """The tools that the newest text of the user names, once each: the stand-in's way to want them.

    With `keep calling` in that text it wants them again after every result, as a model that goes in circles.
    """
    if (asked.body.get("tool_choice") or {}).get("type") == "none":
        return []
    tools: list[Mapping[str, Any]] = asked.body.get("tools") or []
    if asked.has_results and "keep calling" not in asked.asked_text:
        return []
    named = [tool for tool in tools if re.search(rf"\b{re.escape(tool['name'])}\b", asked.asked_text)]
    alone = (asked.body.get("tool_choice") or {}).get("disable_parallel_tool_use", False)
    return named[:1] if alone else named


def _tool_use(tool: Mapping[str, Any], text: str, message_id: str) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_{message_id.removeprefix('msg_')}",
        "name": tool["name"],
        "input": sample(tool.get("input_schema") or {"type": "object"}, text),
    }
