"""Requests to a stand-in, written by hand: nothing of the program's own client is in them."""

from base64 import b64encode
from time import monotonic
from typing import Any

import httpx

from pipeline.standin.server import StandinServer
from support.pictures import encoded, quadrants

__all__ = ["HEADERS", "ask", "image_block", "message_body", "picture", "settled"]

HEADERS = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}
"""What every request needs."""


def message_body(*content: Any, **changes: Any) -> dict[str, Any]:
    """A valid body whose one user message has these blocks or texts, with some fields changed; `None` removes one."""
    blocks = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 300,
        "messages": [{"role": "user", "content": blocks or "Describe this picture."}],
        **changes,
    }
    return {key: value for key, value in body.items() if value is not None}


def picture(width: int = 64, height: int = 48, name: str = "PNG") -> bytes:
    """Four quadrants in a file."""
    return encoded(quadrants(width, height), name)


def image_block(raw: bytes | None = None, media_type: str = "image/png", **more: Any) -> dict[str, Any]:
    """An image block with these bytes."""
    data = b64encode(picture() if raw is None else raw).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}, **more}


def ask(server: StandinServer, body: Any = None, **options: Any) -> httpx.Response:
    """`POST /v1/messages` over a connection of its own."""
    options.setdefault("headers", HEADERS)
    if server.url.startswith("http:"):
        options["verify"] = False  # no TLS: spares the loading of certificates
    return httpx.post(f"{server.url}/v1/messages", json=body or message_body(), timeout=20, **options)


def settled(server: StandinServer) -> bool:
    """Waits until no request is in flight any more; false if that takes too long."""
    ends = monotonic() + 10
    with httpx.Client(verify=False) as client:
        while server.service.counts["in_flight"] and monotonic() < ends:
            client.get(f"{server.url}/_standin/stats")
    return not server.service.counts["in_flight"]
