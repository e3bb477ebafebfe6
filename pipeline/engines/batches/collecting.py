"""Results of batches taken in: line by line, in any order, each of them once, whatever cuts them off.

A line is journalled with its answer before anything else happens to it; a failure with the item's end. Then the
conversation's rules run over what is paid (see `captioning`), from the item's skeleton: either it is settled, or it
waits for another batch.
"""

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b

import anyio

from pipeline.api.batch_states import BatchState, ItemResult, parse_result
from pipeline.api.batches import Batches
from pipeline.api.catalogue import Catalogue, cost_usd
from pipeline.api.messages import parse_answer
from pipeline.api.transport import Unanswered
from pipeline.engines.batches.packing import Packer
from pipeline.engines.batches.parking import ParkedError
from pipeline.engines.batches.skeletons import unpacked
from pipeline.engines.batches.verdicts import Next, failed, failure_of, next_of
from pipeline.engines.captioning import Captioner
from pipeline.engines.intake import count_outcome
from pipeline.engines.plan import RunPlan
from pipeline.engines.totals import Totals
from pipeline.errors import AnswerError, ErrorType
from pipeline.records import Attempt, Mode, Outcome, Usage
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchItem, BatchRecord
from pipeline.store.ledger import Ledger

__all__ = ["Collector"]

logger = logging.getLogger(__name__)
_AT_ONCE = 64
"""Lines that are being written down: they share commits."""
_UNREADABLE = "the results of its batch hold no readable line for it; it may have been paid for"


class Collector:
    """Takes results in.

    Args:
        service: the account's batches.
        ledger: writes them down.
        plan: prices and rules.
        totals: what is counted.
        packer: told of every result, which gives back what the budget had reserved for it.
        captioner: settles from what is paid, and asks nobody (see `parking`).

    Attributes:
        paid: keys of items with paid turns that are not settled.
        belongs: whether an item is of the part of the manifest that the run is about, and so is counted.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stage's parts, each given once where the run is put together
        self,
        service: Batches,
        ledger: Ledger,
        plan: RunPlan,
        totals: Totals,
        packer: Packer,
        captioner: Captioner,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._plan = plan
        self._totals = totals
        self._packer = packer
        self._captioner = captioner
        self._catalogue = Catalogue(plan.config.models)
        self.paid: set[bytes] = set()
        self.belongs: Callable[[BatchItem], bool] = lambda _: True

    async def collect(self, record: BatchRecord, state: BatchState) -> None:
        """Takes in every result of an ended batch that is not taken in yet, and strikes the batch off.

        Raises:
            Unanswered: the results were cut off; what came is taken in.
            RunStoppedError: they are refused.
            OutputError: they cannot be written.
        """
        room = anyio.Semaphore(_AT_ONCE)
        cut: Unanswered | None = None
        async with anyio.create_task_group() as takers:
            try:
                async with aclosing(self._service.results(state)) as lines:
                    async for line in lines:
                        await room.acquire()
                        takers.start_soon(self._take, record, state, line, room)
            except Unanswered as error:
                cut = error
        if cut is not None:
            raise cut
        await self._close(record)

    async def lose(self, record: BatchRecord, why: str) -> None:
        """Fails every item of a batch whose results cannot be had any more.

        Raises:
            OutputError: that cannot be written.
        """
        logger.error("batch %s: %s: its %d items fail", record.batch_id, why, record.items)
        await self._close(record, f"{why}; it may have been paid for")

    async def _take(self, record: BatchRecord, state: BatchState, line: bytes, room: anyio.Semaphore) -> None:
        try:
            result = parse_result(line)
            if result is None:
                await self._ledger.keep_unreadable(f"{state.batch_id}-{blake2b(line, digest_size=8).hexdigest()}", line)
                return
            item = await self._ledger.ask(lambda journal: book.item_of(journal, record.number, result.custom_id))
            if item is not None:
                with anyio.CancelScope(shield=True):
                    await self._taken(record, state, item, result)
        finally:
            room.release()

    async def _taken(self, record: BatchRecord, state: BatchState, item: BatchItem, result: ItemResult) -> None:
        attempt = await self._attempt(record, state, item, result)
        links = self._plan.config.images.transport_fallback and any(each.link for each in unpacked(item).images)
        most = self._plan.config.retry.max_attempts
        follows = next_of(result, attempt=item.attempt, most_attempts=most, linked=links, released=record.released)
        end = await self._failed(item, failure_of(result)) if follows is Next.FAIL else None
        alone = follows is Next.ALONE
        await self._ledger.collect(
            attempt, item.fingerprint, lambda journal: book.set_free(journal, item, alone=alone), end
        )
        self._totals.count_attempt(attempt)
        self._packer.told(item.worst_usd, item.worst_usd if attempt.cost_usd is None else attempt.cost_usd)
        if end is not None:
            self._count(item, end)
        elif follows is Next.SETTLE:
            await self._conclude(item)

    async def _attempt(self, record: BatchRecord, state: BatchState, item: BatchItem, result: ItemResult) -> Attempt:
        """The row of `requests`; an answer that cannot be read is kept as it came, so that it is not asked again."""
        began = state.created_at or datetime.now(UTC)
        ended = state.ended_at or datetime.now(UTC)
        row = Attempt(
            item.item_id,
            item.turn,
            item.attempt,
            began,
            max(0.0, (ended - began).total_seconds() * 1000),
            request_id=result.request_id,
            mode=Mode.BATCHES,
            batch_id=state.batch_id,
        )
        if result.kind != "succeeded":
            return replace(row, error_type=failure_of(result).error_type, usage=Usage(), cost_usd=0.0)
        try:
            answer = parse_answer(result.message)
        except AnswerError as error:
            await self._ledger.keep_unreadable(item.custom_id, result.message)
            return replace(row, error_type=error.error_type, answer=result.message)
        billed = answer.usage if answer.billed else Usage()
        cost = cost_usd(self._catalogue.model(record.target.model), billed, batch=True) or 0.0
        return replace(row, usage=billed, cost_usd=cost, service_tier=answer.service_tier, answer=result.message)

    async def _conclude(self, item: BatchItem) -> None:
        """Settles the item where what is paid is enough; else it waits."""
        if item.fingerprint != self._plan.fingerprint:
            return  # it was asked by another prompt, and stays for a run of that
        self.paid.add(item.key)
        if self._plan.tools:
            return  # a tool has to look at the image: it is prepared anew
        try:
            outcome = await self._captioner.caption(unpacked(item))
        except ParkedError:
            return
        self.paid.discard(item.key)
        self._count(item, outcome)

    async def _failed(self, item: BatchItem, error: AnswerError) -> Outcome:
        paid = await self._ledger.ask(lambda journal: journal.paid_turns(item.key, item.fingerprint))
        return failed(item, error, paid)

    def _count(self, item: BatchItem, outcome: Outcome) -> None:
        if item.fingerprint == self._plan.fingerprint and self.belongs(item):
            count_outcome(self._totals, outcome)

    async def _close(self, record: BatchRecord, why: str = _UNREADABLE) -> None:
        """Strikes a batch off; items that its results did not name fail."""
        while rest := await self._ledger.ask(lambda journal: book.items_of(journal, record.number, _AT_ONCE)):
            for item in rest:
                end = await self._failed(item, AnswerError(ErrorType.BAD_RESPONSE, why))
                await self._ledger.settle(end, key=item.key, fingerprint=item.fingerprint)
                self._packer.told(item.worst_usd, item.worst_usd)
                self._count(item, end)
        await self._ledger.keep(lambda journal: book.end_batch(journal, record.number))
