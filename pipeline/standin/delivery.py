"""An answer on its way to the socket, whole or as damaged as a fault wants it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.standin.faults import Delivery

__all__ = ["FaultyResponse"]

_LINGER_NONE = struct.pack("ii", 1, 0)
_SILENCE_S = 3600.0


class FaultyResponse(Response):
    """A response that can be late, dripped, cut or reset."""

    def __init__(
        self,
        body: bytes,
        delivery: Delivery,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        delivered: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(body, status, dict(headers or {}), delivery.content_type)
        self._delivery = delivery
        self._delivered = delivered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, as far as the fault lets it."""
        plan = self._delivery
        await asyncio.sleep(_SILENCE_S if plan.silent else plan.delay_s)
        if plan.cut_at == 0.0:
            _break(scope, reset=plan.reset)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        if plan.drip_s is not None:
            for at in range(len(body)):
                await send({"type": "http.response.body", "body": body[at : at + 1], "more_body": at + 1 < len(body)})
                await asyncio.sleep(plan.drip_s)
            return
        if plan.cut_at is not None:
            await send({"type": "http.response.body", "body": body[: int(len(body) * plan.cut_at)], "more_body": True})
            await asyncio.sleep(0)
            _break(scope, reset=plan.reset)
            return
        await send({"type": "http.response.body", "body": body})
        if self._delivered is not None:
            await self._delivered()


def _break(scope: Scope, *, reset: bool) -> None:
    transport: Any = scope.get("standin.transport")
    if transport is None:
        return
    if reset:
        carrier = transport.get_extra_info("socket")
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        transport.abort()
    else:
        transport.close()
