"""The results of a batch on their way to the socket: JSON lines in a new order each time, as damaged as planned.

Lines go out in blocks, so that memory holds one of them; the log says of each line that was handed over whole.
"""

import sys
from collections.abc import Iterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.standin.batches.batch import Reading
from pipeline.standin.delivery import Delivery, end_connection, wait
from pipeline.standin.lines import stamp
from pipeline.standin.log import AnswerLog

__all__ = ["ResultsResponse"]

_BLOCK = 262_144


class ResultsResponse(Response):
    """Streams a batch's results, chunked.

    Args:
        reading: the results and their order.
        delivery: the plan.
        headers: beside the content type.
        log: gets a line `batch_delivered` for each result that was handed to an open socket.
    """

    def __init__(self, reading: Reading, delivery: Delivery, headers: Mapping[str, str], log: AnswerLog) -> None:
        super().__init__(b"", 200, dict(headers), "application/x-jsonl")
        del self.headers["content-length"]
        self._reading = reading
        self._plan = delivery
        self._log = log
        self._request_id = headers["request-id"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends them, as far as the plan goes and the client listens."""
        plan, transport = self._plan, scope["standin.transport"]
        if plan.silent or plan.delay_s:
            await wait(receive, None if plan.silent else plan.delay_s)
        if plan.silent or plan.part == 0:
            await end_connection(transport, plan.ending)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        left, is_whole = self._kept()
        for names, block in self._blocks():
            await send({"type": "http.response.body", "body": block[:left], "more_body": True})
            if transport.is_closing():
                return
            await self._delivered(names if len(block) <= left else names[: block[:left].count(b"\n")])
            left -= len(block)
            if left <= 0 and not is_whole:
                break
            if plan.drip_s:
                await wait(receive, plan.drip_s)
        if is_whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        await end_connection(transport, plan.ending)

    def _kept(self) -> tuple[int, bool]:
        """How many bytes are sent, and whether these are all."""
        if self._plan.part == 1 and not self._plan.cut_bytes:
            return sys.maxsize, True
        size = sum(len(line) for _, line in self._lines())
        return self._plan.kept(size), self._plan.kept(size) == size

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        for at in self._reading.order:
            name, _, line = self._reading.results.read(at).partition(b" ")
            yield name.decode(), line

    def _blocks(self) -> Iterator[tuple[list[str], bytes]]:
        """Lines together; one by one where the plan lets them drip."""
        most = 0 if self._plan.drip_s else _BLOCK
        names: list[str] = []
        block = bytearray()
        for name, line in self._lines():
            names.append(name)
            block += line
            if len(block) > most:
                yield names, bytes(block)
                names, block = [], bytearray()
        if names:
            yield names, bytes(block)

    async def _delivered(self, names: list[str]) -> None:
        same = {"batch_id": self._reading.batch_id, "request_id": self._request_id}
        line = {"event": "batch_delivered", **stamp(), **same}
        await self._log.extend({**line, "custom_id": name} for name in names)
