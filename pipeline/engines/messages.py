"""The engine of `api.mode = "messages"`: the architecture diagram as one function.

::

    manifest ──> wanted ──> preparers ──> ready ──> senders ──> ledger
    (thread)     buffer     (threads)     buffer    (places)    (journal, parts)

Buffers are small, so memory is bounded by what is in work. A sender takes its place among the requests in flight before
it takes an item, so waiting for a limit holds no image beyond the `ready` buffer.
"""

import logging
from collections.abc import Iterator
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
from pipeline.errors import ItemError, ManifestError, OutputError, RunStoppedError
from pipeline.limits.pacer import BudgetReachedError, Pacer, PacerClosedError
from pipeline.records import Outcome
from pipeline.store.ledger import Ledger

__all__ = ["Stages", "run_messages"]

logger = logging.getLogger(__name__)
_COUNT_ON_S = 3.0


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one run, and how many of each; `changes` where answered items are held against their images."""

    batches: Iterator[list[Keyed]]
    preparer: Preparer
    captioner: Captioner
    ledger: Ledger
    pacer: Pacer
    totals: Totals
    preparers: int
    senders: int
    changes: Changes | None = None


async def run_messages(stages: Stages, control: RunControl) -> None:
    """Takes every wanted item through the stages; returns when all are settled, or the run was ended and has drained.

    What ends a run is told to `control` and never raised from here.
    """
    wanted_in, wanted = anyio.create_memory_object_stream[Keyed](2 * stages.preparers)
    ready_in, ready = anyio.create_memory_object_stream[ReadyItem](2 * stages.preparers)
    with control.everything:
        async with anyio.create_task_group() as workers:
            workers.start_soon(_produce, stages, control, wanted_in)
            for _ in range(stages.preparers):
                workers.start_soon(_prepare, stages, control, wanted.clone(), ready_in.clone())
            for _ in range(stages.senders):
                workers.start_soon(_send, stages, control, ready.clone())
            for end in (wanted, ready_in, ready):
                end.close()


async def _produce(stages: Stages, control: RunControl, wanted: MemoryObjectSendStream[Keyed]) -> None:
    """The manifest, batch by batch in a worker thread; after an early end it is only counted, and not for long."""
    async with wanted:
        try:
            with control.intake():
                while (batch := await _next_batch(stages.batches)) is not None:
                    for keyed in batch:
                        await wanted.send(keyed)
            with anyio.move_on_after(_COUNT_ON_S):
                while control.stop is not None and await _next_batch(stages.batches) is not None:
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
    _count(stages, outcome)


async def _send(stages: Stages, control: RunControl, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
    async with ready:
        while True:
            try:
                async with stages.pacer.place():
                    item = await ready.receive()
                    outcome = await stages.captioner.caption(item)
            except (anyio.EndOfStream, PacerClosedError):
                return
            except BudgetReachedError:
                control.end(4, "limits.budget_usd reached; raise it, or run again, to go on")
                return
            except (RunStoppedError, OutputError) as error:
                control.end_with(error, sent=True)
                return
            _count(stages, outcome)


def _count(stages: Stages, outcome: Outcome) -> None:
    stages.totals.count_outcome(outcome)
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
