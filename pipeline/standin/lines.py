"""What the log says of an answer: one flat JSON object."""

import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from starlette.requests import Request

from pipeline.standin.answer import Composed
from pipeline.standin.caching import CacheUse
from pipeline.standin.headers import key_of
from pipeline.standin.validate import Asked

__all__ = ["answer_line", "key_sha256", "message_fields", "refusal_line", "stamp"]

_TEXT_CHARS = 1000


def refusal_line(request: Request, request_id: str, **more: Any) -> dict[str, Any]:
    """The line of an answer that is no message: free. A key appears as a part of its hash alone."""
    return {
        "event": "answer",
        **stamp(),
        "request_id": request_id,
        "path": request.url.path,
        "key_sha256": key_sha256(request),
        "billed": False,
        "cost_usd": 0.0,
        "fault": None,
        **more,
    }


def answer_line(
    request: Request, request_id: str, asked: Asked, use: CacheUse, composed: Composed, **sent: Any
) -> dict[str, Any]:
    """The line of a message; `sent` says what of it went out."""
    return refusal_line(
        request,
        request_id,
        status=200,
        **message_fields(asked, use, composed),
        **sent,
    )


def message_fields(asked: Asked, use: CacheUse, composed: Composed) -> dict[str, Any]:
    """What was asked and counted for one message."""
    return {
        "model": asked.body["model"],
        "message_id": composed.message["id"],
        "input_tokens": use.uncached,
        "output_tokens": composed.output_tokens,
        "cache_creation_input_tokens": use.written_5m + use.written_1h,
        "cache_read_input_tokens": use.read,
        "images": [image.sha256 for image in asked.images],
        "sizes": [[image.width, image.height] for image in asked.images],
        "turns": asked.turns,
        "text": asked.last_text[:_TEXT_CHARS],
    }


def stamp() -> dict[str, Any]:
    """The moment of a line: the time of day, and seconds that never go back."""
    return {"at": datetime.now(UTC).isoformat(), "clock": time.monotonic()}


def key_sha256(request: Request) -> str:
    """A part of the key's hash: enough to tell keys apart."""
    return sha256(key_of(request).encode()).hexdigest()[:16]
