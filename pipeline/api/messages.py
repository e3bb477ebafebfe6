"""Bodies in and out of `POST /v1/messages`. No network.

A request's JSON is assembled around the encoded images: text is serialised, each image is base64'd once and joined in
as it is, so that the cost of a body is the cost of its base64. Answers are read defensively: the wire is open-ended,
so unknown fields, blocks and stop reasons are kept and flagged; only what cannot be read at all is an error.
Lone surrogates, which JSON allows and UTF-8 does not, become U+FFFD in both directions.
"""

import json
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import AnswerError, ErrorType
from pipeline.images.geometry import image_tokens
from pipeline.records import Message, Usage

__all__ = ["Answer", "BodyWriter", "ErrorBody", "parse_answer", "parse_error"]

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
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._head = _json(settings)[:-1] + b', "messages": ['
        self._static_chars = sum(len(text) for text in _texts(settings))

    def body(self, turns: Sequence[Message]) -> bytes:
        """The body that sends these turns."""
        pieces = [self._head]
        for index, turn in enumerate(turns):
            pieces.append(b", " if index else b"")
            pieces += _message(turn)
        pieces.append(b"]}")
        return b"".join(pieces)

    def need(self, turns: Sequence[Message]) -> tuple[int, int]:
        """What the turns take of the input: visual tokens by the patch rule, and characters of text."""
        tokens, characters = 0, self._static_chars
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, str):
                    characters += len(part)
                else:
                    tokens += image_tokens(part.record.sent_width or 1, part.record.sent_height or 1)
        return tokens, characters


def _message(turn: Message) -> list[bytes]:
    if len(turn.parts) == 1 and isinstance(turn.parts[0], str):
        return [_json({"role": turn.role, "content": turn.parts[0]})]
    pieces = [f'{{"role": "{turn.role}", "content": ['.encode()]
    for index, part in enumerate(turn.parts):
        pieces.append(b", " if index else b"")
        if isinstance(part, str):
            pieces.append(_json({"type": "text", "text": part}))
        else:
            kind = part.record.sent_media_type
            head = f'{{"type": "image", "source": {{"type": "base64", "media_type": "{kind}", "data": "'
            pieces += [head.encode(), b2a_base64(part.body, newline=False), b'"}}']
    pieces.append(b"]}")
    return pieces


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
    if not text.strip() and not refused:
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
    return _word(kind) or "none"


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
