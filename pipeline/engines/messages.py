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
from pipeline.engines.control import RunControl
from pipeline.engines.preparing import Preparer, ReadyItem, known_images
from pipeline.engines.totals import Totals
from pipeline.errors import ItemError, ManifestError, OutputError, RunStoppedError
from pipeline.limits.pacer import BudgetReachedError, Pacer, PacerClosedError
from pipeline.records import Item, Outcome
from pipeline.store.ledger import Ledger

__all__ = ["Stages", "run_messages"]

logger = logging.getLogger(__name__)
_COUNT_ON_S = 3.0

Keyed = tuple[bytes, Item]


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one run, and how many of each."""

    batches: Iterator[list[Keyed]]
    preparer: Preparer
    captioner: Captioner
    ledger: Ledger
    pacer: Pacer
    totals: Totals
    fingerprint: str
    preparers: int
    senders: int


async def run_messages(stages: Stages, control: RunControl) -> None:
    """Takes every wanted item through the stages; returns when all are settled, or the run was ended and has drained.

    Raises:
        ManifestError: the manifest is damaged; what came before it is settled.
        OutputError: the output cannot be written any more.
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
        with control.intake:
            while (batch := await _next_batch(stages.batches)) is not None:
                for keyed in batch:
                    await wanted.send(keyed)
    with anyio.move_on_after(_COUNT_ON_S):
        while control.stop is not None and await _next_batch(stages.batches) is not None:
            pass


async def _next_batch(batches: Iterator[list[Keyed]]) -> list[Keyed] | None:
    return await to_thread.run_sync(next, batches, None)


async def _prepare(
    stages: Stages,
    control: RunControl,
    wanted: MemoryObjectReceiveStream[Keyed],
    ready: MemoryObjectSendStream[ReadyItem],
) -> None:
    async with wanted, ready:
        with anyio.CancelScope() as mine:
            async with anyio.create_task_group() as watch:
                watch.start_soon(_cancel_with, control, mine)
                async for key, item in wanted:
                    await _prepare_one(stages, control, key, item, ready)
                watch.cancel_scope.cancel()


async def _cancel_with(control: RunControl, scope: anyio.CancelScope) -> None:
    await control.stopping.wait()
    scope.cancel()


async def _prepare_one(
    stages: Stages, control: RunControl, key: bytes, item: Item, ready: MemoryObjectSendStream[ReadyItem]
) -> None:
    try:
        prepared = await stages.preparer.prepare(key, item)
    except ItemError as error:
        outcome = Outcome(item, known_images(item), error=error)
        with anyio.CancelScope(shield=True):
            await _settle(stages, control, key, outcome)
        return
    await ready.send(prepared)


async def _settle(stages: Stages, control: RunControl, key: bytes, outcome: Outcome) -> None:
    try:
        await stages.ledger.settle(outcome, key=key)
    except OutputError as error:
        control.end(error.exit_code, str(error))
        return
    stages.totals.count_outcome(outcome)
    _tell(outcome)


async def _send(stages: Stages, control: RunControl, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
    async with ready:
        while True:
            try:
                async with stages.pacer.place():
                    item = await ready.receive()
                    outcome = await stages.captioner.caption(item, stages.fingerprint)
            except (anyio.EndOfStream, PacerClosedError):
                return
            except BudgetReachedError:
                control.end(4, "limits.budget_usd reached; run again, or raise it, to go on")
                return
            except (RunStoppedError, OutputError, ManifestError) as error:
                control.end(error.exit_code, str(error))
                return
            stages.totals.count_outcome(outcome)
            _tell(outcome)


def _tell(outcome: Outcome) -> None:
    if outcome.error is not None:
        logger.warning(
            "failed: %s: %s: %s",
            outcome.item.item_id[:100],
            outcome.error.error_type,
            outcome.error,
            extra={"item_id": outcome.item.item_id, "request_id": outcome.error.request_id},
        )
