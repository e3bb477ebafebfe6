"""Bodies in and out of `POST /v1/messages`. No network.

A request's JSON is assembled around the encoded images: text is serialised, each image is base64'd once and joined in
as it is, so that the cost of a body is the cost of its base64. Answers are read defensively: the wire is open-ended,
so unknown fields, blocks and stop reasons are kept and flagged; only what cannot be read at all is an error.
Lone surrogates, which JSON allows and UTF-8 does not, become U+FFFD in both directions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pybase64

from pipeline.errors import AnswerError, ErrorType
from pipeline.images.geometry import HIGH, image_tokens
from pipeline.records import Block, Message, PreparedImage, ToolResult, Usage

__all__ = ["CACHE_MARK", "CACHE_MARK_HOUR", "Answer", "BodyWriter", "ErrorBody", "parse_answer", "parse_error"]

CACHE_MARK = {"type": "ephemeral"}
"""Ends the prefix that is cached, for five minutes after its last use."""
CACHE_MARK_HOUR = {"type": "ephemeral", "ttl": "1h"}
"""The same for an hour, at twice the input's price instead of 1.25 times: for batches, answered at leisure."""

_KNOWN_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use", "fallback"}
_KNOWN_STOPS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}
_LARGEST = 2**53
_STATUS_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class BodyWriter:
    """Writes the bodies of one run.

    Args:
        settings: everything of the body beside `messages`, as plain JSON values.
        examples: messages that come before every conversation; written once, their images too.
        mark: put on the last of them, where it ends the cached prefix.
        unseen_tokens: what an image of unknown size is taken to cost, the most that the model can see.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        examples: Sequence[Message] = (),
        *,
        mark: Mapping[str, str] | None = None,
        unseen_tokens: int = HIGH.max_tokens,
    ) -> None:
        pieces = [_json(settings)[:-1] + b', "messages": [']
        for index, message in enumerate(examples):
            pieces.append(b", " if index else b"")
            pieces += _message(message, mark if index == len(examples) - 1 else None)
        self._head = b"".join(pieces)
        self._joint = b", " if examples else b""
        self._unseen_tokens = unseen_tokens
        grammar = {name: settings[name] for name in ("tools", "output_config") if name in settings}
        plain = {name: value for name, value in settings.items() if name not in grammar}
        characters = sum(len(text) for text in _texts(plain)) + len(json.dumps(grammar)) * bool(grammar)
        self._shared_bytes = len(_json(settings)) + sum(_text_bytes(part) for each in examples for part in each.parts)
        self._shared = _plus((0, characters), *(self._taken(part) for each in examples for part in each.parts))

    def body(self, turns: Sequence[Message]) -> bytes:
        """The body that sends these turns."""
        pieces = [self._head]
        for index, turn in enumerate(turns):
            pieces.append(b", " if index else self._joint)
            pieces += _message(turn)
        pieces.append(b"]}")
        return b"".join(pieces)

    def need(self, turns: Sequence[Message]) -> tuple[int, int]:
        """What the turns take of the input: visual tokens by the patch rule, and characters of text.

        What stands before them is in it: system, tools, schema and examples.
        """
        return _plus(self._shared, *(self._taken(part) for turn in turns for part in turn.parts))

    def most_tokens(self, turns: Sequence[Message]) -> int:
        """More than the turns and what stands before them can take of the input, for the budget.

        A byte-level tokenizer makes no more tokens of a text than it has bytes.
        """
        tokens, _ = self.need(turns)
        return tokens + self._shared_bytes + sum(_text_bytes(part) for turn in turns for part in turn.parts)

    @property
    def shared(self) -> tuple[int, int]:
        """The same of what is equal in every request of the run."""
        return self._shared

    def _taken(self, part: "_Part") -> tuple[int, int]:
        if isinstance(part, str):
            return 0, len(part)
        if isinstance(part, Block):
            return 0, len(json.dumps(part.content, ensure_ascii=False))
        if isinstance(part, ToolResult):
            return _plus(*(self._taken(each) for each in part.parts))
        width, height = part.record.sent_width, part.record.sent_height
        return (image_tokens(width, height) if width and height else self._unseen_tokens), 0


_Part = str | PreparedImage | Block | ToolResult


def _text_bytes(part: _Part) -> int:
    if isinstance(part, str):
        return len(part.encode("utf-8", "replace"))
    if isinstance(part, Block):
        return len(_json(part.content))
    return sum(map(_text_bytes, part.parts)) if isinstance(part, ToolResult) else 0


def _plus(*counts: tuple[int, int]) -> tuple[int, int]:
    return sum(tokens for tokens, _ in counts), sum(characters for _, characters in counts)


def _message(turn: Message, mark: Mapping[str, str] | None = None) -> list[bytes]:
    if len(turn.parts) == 1 and isinstance(turn.parts[0], str) and mark is None:
        return [_json({"role": turn.role, "content": turn.parts[0]})]
    return [f'{{"role": "{turn.role}", "content": '.encode(), *_content(turn.parts, mark), b"}"]


def _content(parts: Sequence[_Part], mark: Mapping[str, str] | None = None) -> list[bytes]:
    """Blocks as a JSON list; the last one, a text, carries the mark of the cached prefix."""
    pieces = [b"["]
    for index, part in enumerate(parts):
        pieces.append(b", " if index else b"")
        if isinstance(part, str):
            ends = {"cache_control": mark} if mark is not None and index == len(parts) - 1 else {}
            pieces.append(_json({"type": "text", "text": part, **ends}))
        elif isinstance(part, Block):
            pieces.append(_json(part.content))
        elif isinstance(part, ToolResult):
            head = _json({"type": "tool_result", "tool_use_id": part.tool_use_id, "is_error": part.is_error})
            pieces += [head[:-1], b', "content": ', *_content(part.parts), b"}"]
        else:
            pieces += _image(part)
    return [*pieces, b"]"]


def _image(image: PreparedImage) -> list[bytes]:
    if image.link is not None:
        target = {"url": "url", "file": "file_id"}[image.link.kind]
        return [_json({"type": "image", "source": {"type": image.link.kind, target: image.link.target}})]
    kind = image.record.sent_media_type
    head = f'{{"type": "image", "source": {{"type": "base64", "media_type": "{kind}", "data": "'
    return [head.encode(), pybase64.b64encode(image.body), b'"}}']


def _json(value: object) -> bytes:
    return _clean(json.dumps(value, ensure_ascii=False)).encode()


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class Answer:
    """What a 200 said.

    Attributes:
        text: the text blocks, joined; empty where there are none.
        usage: billed tokens; zeros where the answer had no usage (flagged `no_usage`).
        refusal: category and explanation of a refusal, `None` for every other end.
        billed: whether the service bills this answer (a refusal without content is free).
        warnings: `no_usage`, `no_stop_reason`, `empty_text`, `truncated`, `unknown_block:NAME`,
            `unknown_stop_reason:NAME`.
        blocks: the content as it came, for what reads more than its text.
    """

    text: str
    stop_reason: str | None
    model: str | None
    message_id: str | None
    usage: Usage
    service_tier: str | None = None
    refusal: str | None = None
    billed: bool = True
    warnings: tuple[str, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def calls(self) -> list[Mapping[str, Any]]:
        """The tool calls that can be answered: `tool_use` blocks with an id, a name and an input."""
        return [
            block
            for block in self.blocks
            if block.get("type") == "tool_use"
            and isinstance(block.get("id"), str)
            and isinstance(block.get("name"), str)
            and isinstance(block.get("input"), dict)
        ]


def parse_answer(raw: bytes) -> Answer:
    """Reads the body of a 200.

    Raises:
        AnswerError: `bad_response`: no JSON, no message, or numbers that no bill can hold. It may have been paid for.
    """
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _bad(
            f"the answer is not JSON ({_line(str(error))}): {_line(raw[:200].decode('utf-8', 'replace'))}"
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        raise _bad("the answer is JSON, and not a message")
    blocks = tuple(block for block in message["content"] if isinstance(block, dict))
    text = "".join(
        block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)
    )
    stop = message.get("stop_reason") if isinstance(message.get("stop_reason"), str) else None
    usage, flags = _usage(message.get("usage"))
    kinds = [_kind(block) for block in message["content"]]
    flags += [f"unknown_block:{kind}" for kind in kinds if kind not in _KNOWN_BLOCKS]
    if stop is None:
        flags.append("no_stop_reason")
    elif stop not in _KNOWN_STOPS:
        flags.append(f"unknown_stop_reason:{_word(stop)}")
    if stop in ("max_tokens", "model_context_window_exceeded"):
        flags.append("truncated")
    refused = stop == "refusal"
    if not text.strip() and not refused and "tool_use" not in kinds:
        flags.append("empty_text")
    tier = (message.get("usage") or {}).get("service_tier") if isinstance(message.get("usage"), dict) else None
    return Answer(
        text=_clean(text),
        stop_reason=stop,
        model=_text_or_none(message.get("model")),
        message_id=_text_or_none(message.get("id")),
        usage=usage,
        service_tier=_text_or_none(tier),
        refusal=_refusal(message.get("stop_details")) if refused else None,
        billed=not (refused and not message["content"]),
        warnings=tuple(dict.fromkeys(flags)),
        blocks=blocks,
    )


def _usage(value: object) -> tuple[Usage, list[str]]:
    if not isinstance(value, dict):
        return Usage(), ["no_usage"]
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counts = [_count(name, value.get(name)) for name in names]
    split = value.get("cache_creation")
    hour = _count("ephemeral_1h_input_tokens", split.get("ephemeral_1h_input_tokens")) if isinstance(split, dict) else 0
    return Usage(counts[0], counts[1], counts[2], counts[3], hour), []


def _count(name: str, value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise _bad(f"the answer's usage.{name} is {_line(repr(value)[:60])}; allowed: a count of tokens")
    return value


def _refusal(details: object) -> str:
    if not isinstance(details, dict):
        return "refused"
    words = [details.get("category"), details.get("explanation")]
    return _line(": ".join(word for word in words if isinstance(word, str) and word)) or "refused"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error answer said; by its status where it said nothing readable."""

    error_type: str
    message: str
    error_code: str | None = None
    request_id: str | None = None


def parse_error(raw: bytes, status: int) -> ErrorBody:
    """Reads the body of an error answer; never raises. HTML and empty bodies are told by their status."""
    fallback = _STATUS_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(error, dict):
        return ErrorBody(fallback, f"HTTP status {status} without a readable body")
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return ErrorBody(
        _word(error.get("type")) or fallback,
        _line(_text_or_none(error.get("message")) or "") or f"HTTP status {status}",
        _word(code) or None,
        _text_or_none(body.get("request_id")),
    )


def _bad(message: str) -> AnswerError:
    return AnswerError(ErrorType.BAD_RESPONSE, message)


def _text_or_none(value: object) -> str | None:
    return _clean(value)[:500] if isinstance(value, str) and value else None


def _kind(block: object) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) and kind in _KNOWN_BLOCKS else _word(kind) or "none"


def _word(value: object) -> str:
    """An identifier of the service, without what no identifier has; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(character for character in value if character.isalnum() or character in "_-")[:60]


def _line(text: str) -> str:
    """One printable line of at most 500 characters."""
    flat = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return _clean(flat)[:500]


def _clean(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
