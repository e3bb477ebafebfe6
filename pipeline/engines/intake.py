"""The first half of every engine: the manifest read, items prepared, and handed to whoever asks the service.

::

    manifest ──> wanted ──> preparers ──> ready ──> takers
    (thread)     buffer     (threads)     buffer

Buffers are small, so memory is bounded by what is in work. An item that cannot be prepared is settled here.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.engines.captioning import Captioner
from pipeline.engines.changes import Changes
from pipeline.engines.control import RunControl
from pipeline.engines.preparing import Preparer, ReadyItem, known_images
from pipeline.engines.selection import Keyed
from pipeline.engines.totals import Totals
from pipeline.errors import ItemError, ManifestError, OutputError
from pipeline.limits.pacer import Pacer
from pipeline.records import Outcome
from pipeline.store.ledger import Ledger

__all__ = ["Stages", "Taker", "count_outcome", "feed"]

logger = logging.getLogger(__name__)
_COUNT_ON_S = 3.0

Taker = Callable[[MemoryObjectReceiveStream[ReadyItem]], Awaitable[None]]
"""Takes ready items from the stream until there are no more."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one run, and how many of each.

    Attributes:
        batches: the items that are wanted.
        changes: where answered items are held against their images.
    """

    batches: Iterator[list[Keyed]]
    preparer: Preparer
    captioner: Captioner
    ledger: Ledger
    pacer: Pacer
    totals: Totals
    preparers: int
    senders: int
    changes: Changes | None = None


async def feed(stages: Stages, control: RunControl, batches: Iterator[list[Keyed]], take: Taker, takers: int) -> None:
    """Takes every wanted item to a taker; returns when all are taken, or the run was ended.

    What ends a run is told to `control` and never raised from here.
    """
    wanted_in, wanted = anyio.create_memory_object_stream[Keyed](2 * stages.preparers)
    ready_in, ready = anyio.create_memory_object_stream[ReadyItem](2 * stages.preparers)
    async with anyio.create_task_group() as workers:
        workers.start_soon(_produce, stages, control, batches, wanted_in)
        for _ in range(stages.preparers):
            workers.start_soon(_prepare, stages, control, wanted.clone(), ready_in.clone())
        for _ in range(takers):
            workers.start_soon(_take, take, ready.clone())
        for end in (wanted, ready_in, ready):
            end.close()


async def _take(take: Taker, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
    async with ready:
        await take(ready)


async def _produce(
    stages: Stages, control: RunControl, batches: Iterator[list[Keyed]], wanted: MemoryObjectSendStream[Keyed]
) -> None:
    """The manifest, batch by batch in a worker thread; after an early end it is only counted, and not for long."""
    async with wanted:
        try:
            with control.intake():
                while (batch := await _next_batch(batches)) is not None:
                    for keyed in batch:
                        await wanted.send(keyed)
            with anyio.move_on_after(_COUNT_ON_S):
                while control.stop is not None and await _next_batch(batches) is not None:
                    pass
        except ManifestError as error:
            control.end_with(error, sent=stages.totals.sent > 0)


async def _next_batch(batches: Iterator[list[Keyed]]) -> list[Keyed] | None:
    return await to_thread.run_sync(next, batches, None)


async def _prepare(
    stages: Stages,
    control: RunControl,
    wanted: MemoryObjectReceiveStream[Keyed],
    ready: MemoryObjectSendStream[ReadyItem],
) -> None:
    async with wanted, ready:
        with control.intake():
            async for key, item in wanted:
                if stages.changes is not None and await stages.changes.is_answered(key, item):
                    stages.totals.skipped += 1
                    continue
                try:
                    prepared = await stages.preparer.prepare(key, item)
                except ItemError as error:
                    await _fail(stages, control, key, Outcome(item, known_images(item), error=error))
                else:
                    await ready.send(prepared)


async def _fail(stages: Stages, control: RunControl, key: bytes, outcome: Outcome) -> None:
    with anyio.CancelScope(shield=True):
        try:
            await stages.ledger.settle(outcome, key=key)
        except OutputError as error:
            control.end_with(error, sent=stages.totals.sent > 0)
            return
    count_outcome(stages.totals, outcome)


def count_outcome(totals: Totals, outcome: Outcome) -> None:
    """Counts what an item came to, and tells of a failure."""
    totals.count_outcome(outcome)
    if outcome.error is not None:
        logger.warning(
            "failed: %s: %s: %s",
            outcome.item.item_id[:100],
            outcome.error.error_type,
            outcome.error,
            extra={
                "item_id": outcome.item.item_id,
                "request_id": outcome.error.request_id,
                "error_type": outcome.error.error_type,
            },
        )
