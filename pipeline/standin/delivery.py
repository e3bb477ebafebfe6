"""An answer on its way to the socket, whole or as damaged as a misfortune wants it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["DeliveredResponse", "Delivery", "end_connection", "wait"]

_NO_LINGER = struct.pack("ii", 1, 0)
_PADDING = b" " * 65_536


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer reaches the client.

    Attributes:
        body: what is sent instead of the message, `None` for the message itself.
        content_type: of the answer.
        status: of the answer.
        change: fields of the message that are replaced; `None` as a value removes one.
        part: how much of the body is sent, 0 to 1; at 0 not even the headers are.
        cut_bytes: how many bytes of it are sent instead, where it has more; 0 goes by `part`.
        ending: what becomes of the connection after that: it is kept, closed in order, reset by TCP, or stays up
            without anyone reading from it any more (`mute`).
        delay_s: before the first byte.
        drip_s: between single bytes; 0 for no dripping.
        silent: nothing is ever sent.
        endless: white space is sent for as long as the client takes it.
    """

    body: bytes | None = None
    content_type: str = "application/json"
    status: int = 200
    change: Mapping[str, Any] = field(default_factory=dict)
    part: float = 1.0
    cut_bytes: int = 0
    ending: Literal["keep", "close", "reset", "mute"] = "keep"
    delay_s: float = 0.0
    drip_s: float = 0.0
    silent: bool = False
    endless: bool = False

    def kept(self, size: int) -> int:
        """How many bytes of so many are sent."""
        return min(size, self.cut_bytes) if self.cut_bytes else int(size * self.part)


class DeliveredResponse(Response):
    """A response that is delivered as planned.

    Args:
        body: of the message; the delivery's own goes before it.
        delivery: the plan.
        headers: beside content type and length.
        delivered: called once the whole body was handed to an open socket.
    """

    def __init__(
        self,
        body: bytes,
        delivery: Delivery,
        headers: Mapping[str, str],
        delivered: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        whole = body if delivery.body is None else delivery.body
        super().__init__(whole, delivery.status, dict(headers), delivery.content_type)
        if delivery.endless:
            del self.headers["content-length"]
        self._whole = whole
        self._plan = delivery
        self._delivered = delivered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, as far as the plan goes."""
        plan, transport = self._plan, scope["standin.transport"]
        if plan.silent or plan.delay_s:
            await wait(receive, None if plan.silent else plan.delay_s)
        reached = False
        if plan.part > 0 and not plan.silent:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            reached = await self._send_body(receive, send, transport)
        await end_connection(transport, plan.ending)
        if reached and self._delivered is not None:
            await self._delivered()

    async def _send_body(self, receive: Receive, send: Send, transport: asyncio.Transport) -> bool:
        """Sends the body or its part; whether the whole of it went to an open socket."""
        plan = self._plan
        while plan.endless and not transport.is_closing():
            await send({"type": "http.response.body", "body": _PADDING, "more_body": True})
            await asyncio.sleep(0)
        kept = self._whole[: plan.kept(len(self._whole))]
        is_whole = len(kept) == len(self._whole)
        if plan.drip_s:
            for at in range(len(kept) - 1):
                if transport.is_closing():
                    return False
                await send({"type": "http.response.body", "body": kept[at : at + 1], "more_body": True})
                await wait(receive, plan.drip_s)
            kept = kept[-1:]
        is_open = not transport.is_closing()
        await send({"type": "http.response.body", "body": kept, "more_body": not is_whole})
        return is_whole and is_open


async def wait(receive: Receive, seconds: float | None) -> None:
    """Waits so long (`None`: for ever), but no longer than the client does."""
    try:
        await asyncio.wait_for(_gone(receive), seconds)
    except TimeoutError:
        pass


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_connection(transport: asyncio.Transport, ending: str) -> None:
    """Does to the connection what its delivery planned, once everything was sent."""
    while ending != "keep" and transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)  # what was sent is to arrive first
    if ending == "mute":
        transport.pause_reading()
    elif ending == "close":
        transport.close()
    elif ending == "reset" and not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
