"""The body of a create call: read from the wire as it comes, its requests put on disk one by one."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from starlette.requests import Request

from pipeline.standin.batches.batch import Batch
from pipeline.standin.batches.reading import Item, RequestsReader
from pipeline.standin.batches.spool import Spool
from pipeline.standin.headers import check_plain_json
from pipeline.standin.lines import stamp
from pipeline.standin.log import AnswerLog
from pipeline.standin.problems import Problem

__all__ = ["Received", "receive"]

_AT_ONCE = 1000


@dataclass(slots=True)
class Received:
    """What a create call brought.

    Attributes:
        items: the requests as they were sent.
        size: bytes of the body.
        told: of each request its name, the hash of its `params` (keys sorted) and its size.
    """

    items: Spool = field(default_factory=Spool, repr=False)
    size: int = 0
    told: list[tuple[str, str, int]] = field(default_factory=list, repr=False)

    def add(self, found: Iterable[Item]) -> None:
        """Takes requests."""
        for item in found:
            self.items.append(item.raw)
            digest = sha256(json.dumps(item.params, sort_keys=True).encode()).hexdigest()
            self.told.append((item.custom_id, digest, len(item.raw)))

    async def log(self, batch: Batch, request_id: str, log: AnswerLog) -> None:
        """Writes down that the batch is there: a line for it and a line for each of its requests."""
        same = {**stamp(), "batch_id": batch.id}
        whole = {
            "request_id": request_id,
            "items": len(self.told),
            "bytes": self.size,
            "key_sha256": batch.asked_with.key_sha256,
        }
        for start in range(0, len(self.told), _AT_ONCE):
            await log.extend(
                {
                    "event": "batch_request",
                    **same,
                    "index": at,
                    "custom_id": name,
                    "params_sha256": digest,
                    "bytes": size,
                }
                for at, (name, digest, size) in enumerate(self.told[start : start + _AT_ONCE], start)
            )
        await log.add({"event": "batch_created", **same, **whole})


async def receive(request: Request, most_items: int, most_bytes: int) -> Received:
    """Reads the body to its end, also where its beginning is wrong already: only then is the client ready to listen.

    Raises:
        Problem: 413 as the edge answers it, as soon as the body is too large; 400 for what is not a batch.
    """
    received = Received()
    try:
        await _read(received, RequestsReader(most_items), request, most_bytes)
    except BaseException:
        received.items.close()
        raise
    received.items.seal()
    return received


async def _read(received: Received, reader: RequestsReader, request: Request, most_bytes: int) -> None:
    wrong: Problem | None = None
    try:
        check_plain_json(request)
    except Problem as problem:
        wrong = problem
    async for chunk in request.stream():
        received.size += len(chunk)
        if received.size > most_bytes:
            raise Problem.at_the_edge()
        if wrong is None:
            wrong = _taken(received, reader, chunk)
    wrong = wrong or _taken(received, reader, b"", final=True)
    if wrong is not None:
        raise wrong


def _taken(received: Received, reader: RequestsReader, chunk: bytes, *, final: bool = False) -> Problem | None:
    try:
        received.add(reader.feed(chunk, final=final))
    except Problem as problem:
        return problem
    return None
