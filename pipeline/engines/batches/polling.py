"""Batches in flight, looked at until each has ended and its results are taken in.

Looks are 2 seconds apart at first, then twice as long each time, up to `api.poll_seconds`: what the service counts
before the end says nothing, so nothing is gained by looking more often. A batch whose creation is not known is looked
for at each round (see `submitting`).
"""

import logging
from collections.abc import Container
from datetime import UTC, datetime, timedelta

import anyio

from pipeline.api.batches import Batches
from pipeline.api.transport import Unanswered
from pipeline.engines.batches.collecting import Collector
from pipeline.engines.batches.submitting import Found, look_for, settling_s
from pipeline.engines.control import RunControl
from pipeline.engines.totals import Totals
from pipeline.errors import RunStoppedError
from pipeline.limits.pacer import Pacer
from pipeline.settings import SettingsApi
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchRecord
from pipeline.store.ledger import Ledger

__all__ = ["Poller"]

logger = logging.getLogger(__name__)
_FIRST_LOOK_S = 2.0
_CUTS_IN_A_ROW = 8
_GONE = "the service does not know it any more"
_ARCHIVED = "its results are kept for 29 days, and are gone"


class Poller:
    """Looks at the batches of one service.

    Args:
        service: the account's batches.
        place: its base URL; batches of another are left alone.
        collector: takes results in.
        ledger: what is in flight.
        pacer: waits, and stops waiting when the run drains.
        api: how often to look.
        totals: what views show.

    Attributes:
        collected: set when a batch was looked at, or taken in, and made anew.
        taken_in: how often that was.
        is_taking_in: whether it may be about to be: results may be in the journal that were not told of.
        creating: the numbers of batches that are being created now.
        forgets: whether a batch that the service does not know was never billed (the embedded endpoint's).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stage's parts, each given once where the run is put together
        self,
        service: Batches,
        place: str,
        collector: Collector,
        ledger: Ledger,
        pacer: Pacer,
        api: SettingsApi,
        totals: Totals,
    ) -> None:
        self._service = service
        self._place = place
        self._collector = collector
        self._ledger = ledger
        self._pacer = pacer
        self._api = api
        self._totals = totals
        self._wait_s = 0.0
        self._cuts: dict[int, int] = {}
        self._woken = anyio.Event()
        self.collected = anyio.Event()
        self.taken_in = 0
        self.is_taking_in = False
        self.creating: Container[int] = ()
        self.forgets = False

    async def serve(self, control: RunControl) -> None:
        """Looks, for as long as the run goes.

        Raises:
            RunStoppedError: the service refuses, or does not answer.
            OutputError: results cannot be written.
        """
        while control.stop is None:
            woken = self._woken
            records = await self.in_flight()
            if not records:
                self._wait_s = 0.0
                await woken.wait()
                continue
            await self._round(records, control)
            self._wait_s = min(self._api.poll_seconds, max(_FIRST_LOOK_S, 2 * self._wait_s))
            await self._pacer.sleep(self._wait_s)

    async def once(self, control: RunControl) -> None:
        """Looks at each batch once.

        Raises:
            RunStoppedError: as `serve`.
            OutputError: as `serve`.
        """
        await self._round(await self.in_flight(), control)

    async def in_flight(self) -> list[BatchRecord]:
        """The batches that may be at the service; views are told of them."""
        records = [
            record
            for record in await self._ledger.ask(book.batches_of)
            if record.target.place == self._place and record.intended_at is not None
        ]
        self._totals.batches = len(records)
        self._totals.batched = sum(record.items for record in records)
        return records

    def wake(self) -> None:
        """A batch was created, or the run goes to its end."""
        self._woken.set()
        self._woken = anyio.Event()

    async def cancel_all(self) -> None:
        """Has every batch end early, so that its items are asked through `messages`.

        Raises:
            RunStoppedError: as `serve`.
            OutputError: as `serve`.
        """
        for record in await self.in_flight():
            await self._ledger.keep(lambda journal: book.release(journal, record.number))  # noqa: B023 - awaited
            if record.batch_id is not None:
                await self._service.cancel(record.batch_id)
        self._wait_s = 0.0

    async def _round(self, records: list[BatchRecord], control: RunControl) -> None:
        for record in records:
            if control.stop is not None:
                return
            self.is_taking_in = True
            try:
                if record.batch_id is not None:
                    await self._look(record, record.batch_id)
                elif record.number not in self.creating and await self._is_unknown(record):
                    await self._resolve(record)
            finally:
                self.is_taking_in = False
                self._signal()

    async def _look(self, record: BatchRecord, batch_id: str) -> None:
        state = await self._service.look(batch_id)
        if state is None and self.forgets:
            await self._undo(record)
        elif state is None:
            await self._collector.lose(record, _GONE)
        elif state.archived:
            await self._collector.lose(record, _ARCHIVED)
        elif not state.ended:
            return
        else:
            # Read only now: what was canceled by this run was released before.
            now = await self._ledger.ask(lambda journal: book.record_of(journal, record.number))
            try:
                await self._collector.collect(now or record, state)
            except Unanswered as error:
                self.tell()
                self._cut(record, error)
                return
        self._cuts.pop(record.number, None)
        self._wait_s = 0.0
        self.tell()

    def _cut(self, record: BatchRecord, error: Unanswered) -> None:
        cuts = self._cuts[record.number] = self._cuts.get(record.number, 0) + 1
        logger.warning("batch %s: its results were cut off (%s): reading on", record.batch_id, error)
        self._wait_s = 0.0
        if cuts >= _CUTS_IN_A_ROW:
            raise RunStoppedError(f"batch {record.batch_id}: its results cannot be read: {error}; run again to read on")

    async def _is_unknown(self, record: BatchRecord) -> bool:
        """Whether its id is unknown still: since the round began it may have been created."""
        now = await self._ledger.ask(lambda journal: book.record_of(journal, record.number))
        return now is not None and now.batch_id is None

    async def _resolve(self, record: BatchRecord) -> None:
        """A batch whose creation is not known: found, given up, or looked for again later."""
        found = await look_for(record, self._service, self._ledger)
        if found is Found.MAYBE:
            return
        if isinstance(found, Found):
            intended = record.intended_at or datetime.now(UTC)
            if datetime.now(UTC) - intended < timedelta(seconds=settling_s(self._api)):
                return
            logger.info("a batch of %d items was never created: they go into another one", record.items)
            await self._undo(record)
        else:
            logger.info("batch %s: found again, with %d items", found.batch_id, record.items)
            await self._ledger.keep(lambda journal: book.created(journal, record.number, found.batch_id))
        self._wait_s = 0.0
        self.tell()

    async def _undo(self, record: BatchRecord) -> None:
        await self._ledger.keep(lambda journal: book.undo(journal, record.number))
        self._pacer.budget.settle(record.worst_usd, 0.0)

    def tell(self) -> None:
        """Has who waits for results look again."""
        self.taken_in += 1
        self._signal()

    def _signal(self) -> None:
        self.collected.set()
        self.collected = anyio.Event()
