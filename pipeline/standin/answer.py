"""The answer to a body that passed: a caption that states what was measured, and honest usage."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.standin.validate import Asked

__all__ = ["Composed", "bill_nano", "compose"]

_THINKING_TOKENS = 64
_CHARS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Composed:
    """A message, its text, and what it bills in nano-dollars."""

    message: dict[str, Any]
    text: str
    output_tokens: int
    bill_nano: int


def compose(asked: Asked) -> Composed:
    """The message; the same for the same body, but for its id."""
    wanted = _wanted(asked)
    content: list[dict[str, Any]] = []
    room = int(asked.body["max_tokens"])
    used = 0
    if _thinks(asked):
        used = min(room, _THINKING_TOKENS)
        content.append({"type": "thinking", "thinking": "", "signature": "c3RhbmQtaW4="})
    forced = _forced_tool(asked)
    if forced is not None and used < room:
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_{_digest(asked)[:24]}",
                "name": forced["name"],
                "input": _sample(forced["input_schema"], wanted),
            }
        )
        text, stop, used = "", "tool_use", min(room, used + 40)
    else:
        text, stop = _cut(wanted, room - used, asked.body.get("stop_sequences") or ())
        used += -(-len(text) // _CHARS_A_TOKEN)
        if text:
            content.append({"type": "text", "text": text, "citations": None})
    hit = stop if stop not in ("end_turn", "max_tokens", "tool_use") else None
    message = {
        "id": f"msg_{_digest(asked)[:24]}",
        "type": "message",
        "role": "assistant",
        "model": f"{asked.name} (stand-in)",
        "content": content,
        "stop_reason": "stop_sequence" if hit else stop,
        "stop_sequence": hit,
        "stop_details": None,
        "usage": {
            "input_tokens": asked.input_tokens,
            "output_tokens": used,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        },
    }
    return Composed(message, text, used, bill_nano(asked, used))


def bill_nano(asked: Asked, output_tokens: int) -> int:
    """What an answer costs, in nano-dollars."""
    nano = asked.input_tokens * asked.model.input_nano + output_tokens * asked.model.output_nano
    return nano * 5 if asked.model.long_over and asked.input_tokens > asked.model.long_over else nano


def _wanted(asked: Asked) -> str:
    sentences = [image.sentence for image in asked.images]
    if not sentences:
        text = f"No picture was sent; the prompt's sha256 is {sha256(asked.last_text.encode()).hexdigest()[:12]}."
    elif len(sentences) == 1:
        text = f"A {sentences[0]}."
    else:
        text = " ".join(f"Image {number}: a {sentence}." for number, sentence in enumerate(sentences, 1))
    schema = ((asked.body.get("output_config") or {}).get("format") or {}).get("schema")
    if isinstance(schema, dict):
        return json.dumps(_sample(schema, text))
    return f" {text}" if asked.prefill else text


def _cut(text: str, room: int, stops: object) -> tuple[str, str]:
    if isinstance(stops, list | tuple):
        for stop in stops:
            if stop and stop in text:
                return text[: text.index(stop)], str(stop)
    if len(text) > room * _CHARS_A_TOKEN:
        return text[: max(0, room) * _CHARS_A_TOKEN], "max_tokens"
    return text, "end_turn"


def _thinks(asked: Asked) -> bool:
    kind = (asked.body.get("thinking") or {}).get("type")
    return kind in ("adaptive", "enabled") or (kind is None and asked.model.thinks)


def _forced_tool(asked: Asked) -> Mapping[str, Any] | None:
    choice = asked.body.get("tool_choice") or {}
    tools = asked.body.get("tools") or []
    if choice.get("type") not in ("any", "tool") or not tools:
        return None
    return next((tool for tool in tools if tool.get("name") == choice.get("name")), tools[0])


def _sample(schema: Mapping[str, Any], text: str) -> Any:
    """A value that the schema allows."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return _sample(schema["anyOf"][0], text)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _sample(part, text) for name, part in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [_sample(schema.get("items") or {"type": "string"}, text)]
    return {"integer": 1, "number": 0.5, "boolean": True, "null": None}.get(str(kind), text)


def _digest(asked: Asked) -> str:
    return sha256(repr((asked.name, asked.last_text, [image.sha256 for image in asked.images])).encode()).hexdigest()
