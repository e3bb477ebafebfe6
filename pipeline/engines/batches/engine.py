"""The engine of `api.mode = "batches"` and `"auto"`.

::

    manifest ──> preparers ──> packer ──> submitter ──> (the service) ──> poller ──> collector ──> ledger
                              (a body on disk)                                        (line by line)

Items go in waves: an item whose answer leads to another question (the next turn, a repair, a passing fault) waits for
the next batch, and the manifest is walked again for those that wait. The first item of a new fingerprint is asked
through `messages`, so that a mistaken body costs one request and not a day; where a prefix is cached, one item an hour
writes it before the others read. In `auto` all is asked through `messages` once `api.deadline` draws near.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from pipeline.engines.batches.packing import Packer
from pipeline.engines.batches.parking import ParkedError
from pipeline.engines.batches.polling import Poller
from pipeline.engines.batches.submitting import Submitter
from pipeline.engines.captioning import Captioner
from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages, count_outcome, feed
from pipeline.engines.messages import BUDGET_REACHED
from pipeline.engines.preparing import ReadyItem
from pipeline.engines.selection import Keyed
from pipeline.errors import ErrorType, OutputError, RunStoppedError, first_error
from pipeline.limits.pacer import BudgetReachedError, PacerClosedError
from pipeline.records import Outcome
from pipeline.store import batches as book

__all__ = ["BatchDesk", "run_batches"]

logger = logging.getLogger(__name__)
_PACKING = 16
"""Items being packed at once: they share commits, and uploads where images travel as files."""
_REFUSED_SAMPLES = 3
_WARM_S = 3000.0
"""A cached prefix lives for an hour from its last use."""


@dataclass(slots=True)
class BatchDesk:
    """What the engine works with.

    Attributes:
        again: walks the manifest for the items that wait; `None` where it cannot be read twice.
        packing: a captioner that settles from what is paid, and parks what has to be asked.
        fingerprint: of the run.
        place: the base URL.
        paid: keys of items with paid turns that are not settled.
        is_sampled: whether a body of this fingerprint was taken by the service.
        warms: whether requests share a cached prefix.
        waits: whether the run stays until its batches have ended.
        switch_after_s: seconds after which everything is asked through `messages`, `None` for never.
        switched: whether it is.
        moved: items that were packed or settled.
        warm_until: when the cached prefix is taken to be gone, on the event loop's clock.
    """

    packer: Packer
    submitter: Submitter
    poller: Poller
    packing: Captioner
    fingerprint: str
    place: str
    paid: set[bytes]
    again: Callable[[], Iterator[list[Keyed]]] | None
    is_sampled: bool
    warms: bool = False
    waits: bool = True
    switch_after_s: float | None = None
    switched: bool = False
    moved: int = 0
    warm_until: float = 0.0

    @property
    def needs_first(self) -> bool:
        """Whether an item has to be asked through `messages` before others are packed."""
        return not self.is_sampled or (self.warms and anyio.current_time() > self.warm_until)


async def run_batches(stages: Stages, control: RunControl, desk: BatchDesk) -> None:
    """Takes every wanted item through batches; returns when all are settled, or the run was ended and has drained.

    What ends a run is told to `control` and never raised from here.
    """
    engine = _Engine(stages, control, desk)
    with control.everything:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.watch_stop)
            tasks.start_soon(engine.guarded, desk.submitter.serve)
            if desk.waits:
                tasks.start_soon(engine.guarded, partial(desk.poller.serve, control))
            if desk.switch_after_s is not None:
                tasks.start_soon(engine.guarded, engine.watch_deadline)
            await engine.guarded(engine.waves)
            tasks.cancel_scope.cancel()


class _Engine:
    """One run's waves."""

    def __init__(self, stages: Stages, control: RunControl, desk: BatchDesk) -> None:
        self._stages = stages
        self._control = control
        self._desk = desk
        self._refused = 0
        self._first = anyio.Lock()
        self._packers = anyio.CapacityLimiter(_PACKING)

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Some work whose error ends the run in good order."""
        try:
            await work()
        except* PacerClosedError:
            pass
        except* (RunStoppedError, OutputError) as group:
            self._control.end_with(first_error(group), sent=self._stages.totals.sent > 0)

    async def watch_stop(self) -> None:
        """Sends away what waits for room or for results once the run ends."""
        await self._control.stopping.wait()
        desk = self._desk
        desk.packer.stop()
        desk.submitter.stop(refuse=not self._may_submit)
        desk.poller.tell()

    async def watch_deadline(self) -> None:
        """Has everything asked through `messages` from then on."""
        desk = self._desk
        await self._stages.pacer.sleep(desk.switch_after_s or 0.0)
        if self._control.stop is not None:
            return
        logger.warning("api.deadline is near: batches in flight are canceled, and what is left is asked by itself")
        desk.switched = True
        desk.packer.divert()
        desk.submitter.divert()
        await desk.packer.drop()
        await desk.submitter.idle()
        await desk.poller.cancel_all()

    async def waves(self) -> None:
        """The manifest once, and again for what waits, until nothing is left to be asked."""
        desk, ledger = self._desk, self._stages.ledger
        walk: Iterator[list[Keyed]] | None = self._stages.batches
        is_first = True
        while walk is not None:
            moved, taken_in, desk.packer.deferred = desk.moved, desk.poller.taken_in, 0
            await feed(self._stages, self._control, walk, self._take, self._stages.senders)
            await self._hand_over()
            walk = await self._next_walk(taken_in, moved=is_first or desk.moved > moved)
            is_first = False
        if not desk.waits and self._control.stop is None:
            await desk.poller.once(self._control)
        await desk.poller.in_flight()
        if await ledger.ask(book.has_leftovers):
            await ledger.keep(book.tidy)

    async def _hand_over(self) -> None:
        """What is built goes to the service, unless the run was told to send nothing more."""
        if self._may_submit and not self._desk.switched:
            await self._desk.packer.flush()
        else:
            await self._desk.packer.drop()
        await self._desk.submitter.idle()
        self._desk.poller.wake()

    @property
    def _may_submit(self) -> bool:
        """Whether batches are still created; a run that reached its time or its budget creates what it has built."""
        return self._control.stop is None or self._control.stop.exit_code == 4

    async def _next_walk(self, taken_in: int, *, moved: bool) -> Iterator[list[Keyed]] | None:
        """The items that wait, once it is worth walking the manifest for them; `None` where none will.

        Args:
            taken_in: how often results were taken in before the last walk.
            moved: whether anything was packed or settled in it.
        """
        desk = self._desk
        while self._control.stop is None and desk.waits:
            collected = desk.poller.collected
            in_flight, waiting = await self._stages.ledger.ask(
                lambda journal: book.count_items(journal, desk.fingerprint, desk.place)
            )
            may_come = in_flight or desk.poller.is_taking_in
            moved |= desk.poller.taken_in > taken_in
            enough = moved and waiting >= (1 if desk.switched else max(1, in_flight))
            # Items that wait for identical ones which nobody asks any more are asked themselves.
            is_stuck = not moved and not may_come and desk.packer.deferred > 0 and desk.packer.defers
            if desk.again is not None and waiting and (enough or is_stuck):
                desk.packer.defers = not is_stuck
                return desk.again()
            if not may_come:
                return None
            await collected.wait()
        return None

    async def _take(self, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
        while True:
            try:
                async with self._turn():
                    await self._taken(await ready.receive())
            except (anyio.EndOfStream, PacerClosedError):
                return
            except BudgetReachedError:
                self._control.end(4, BUDGET_REACHED)
                return
            except (RunStoppedError, OutputError) as error:
                self._control.end_with(error, sent=self._stages.totals.sent > 0)
                return

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A place among the items that are packed, or among the requests in flight."""
        if self._desk.switched:
            async with self._stages.pacer.place():
                yield
        else:
            async with self._packers:
                yield

    async def _taken(self, ready: ReadyItem) -> None:
        desk = self._desk
        if self._stages.pacer.closed:
            raise PacerClosedError
        known = await self._stages.ledger.ask(lambda journal: book.standing_of(journal, ready.key, desk.fingerprint))
        if known is not None and (known.done or known.batch is not None):
            return  # it was settled, or put into a batch, since the manifest was walked
        if desk.switched or (known is not None and known.alone):
            await self._alone(ready)
        elif not (desk.needs_first and await self._as_first(ready)):
            await self._packed(ready)

    async def _packed(self, ready: ReadyItem) -> None:
        packing = self._desk.packing
        try:
            outcome = await packing.caption(ready)
        except ParkedError as parked:
            asked = parked.ready or ready
            self._desk.moved += await self._desk.packer.add(asked, parked.question, packing.reuse_of(ready))
        else:
            self._count(outcome)

    async def _alone(self, ready: ReadyItem) -> Outcome:
        desk = self._desk
        while True:
            try:
                outcome = await self._stages.captioner.caption(ready)
            except BudgetReachedError:
                desk.paid.add(ready.key)  # it may be in the middle of its turns
                await desk.packer.more_room()
            else:
                desk.paid.discard(ready.key)
                self._count(outcome)
                return outcome
            finally:
                desk.packer.wake()

    async def _as_first(self, ready: ReadyItem) -> bool:
        """Asks the item before others are packed, and says whether it was needed.

        Raises:
            RunStoppedError: the service did not take the body of several items in a row.
        """
        desk = self._desk
        async with self._first:
            if not desk.needs_first:
                return False
            error = (await self._alone(ready)).error
            if error is None or error.error_type != ErrorType.INVALID_REQUEST:
                self._refused = 0
                desk.is_sampled = error is None or not error.retryable
                desk.warm_until = anyio.current_time() + _WARM_S
                return True
            self._refused += 1
            if self._refused >= _REFUSED_SAMPLES:
                raise RunStoppedError(
                    f"the first {self._refused} items were refused, so no batch is built: {error}; mend the "
                    "configuration, then run again"
                )
            return True

    def _count(self, outcome: Outcome) -> None:
        self._desk.moved += 1
        count_outcome(self._stages.totals, outcome)
