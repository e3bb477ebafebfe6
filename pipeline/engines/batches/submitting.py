"""Batches created, each of them once: intent first, then `create`, then the id.

`create` knows no idempotency key. Where its answer did not arrive, or the process died before it was written down, the
batch may exist. Then the account's batches are listed: those of about that time with as many items may be it. One of
them that has ended is known by the `custom_id`s of its results, which no other batch has; while one is still in
progress nothing is concluded. Only where none is left, a poll interval after the attempt, is the batch given up: its
items go into another one. Other programs' batches of the same size cost waiting, never money.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from enum import Enum

import anyio

from pipeline.api.batch_states import BatchState, parse_result
from pipeline.api.batches import Batches, BatchTooLargeError, CreationUnknownError, TryLaterError
from pipeline.api.transport import Unanswered
from pipeline.engines.batches.bodies import BuiltBatch
from pipeline.errors import RunStoppedError
from pipeline.limits.pacer import Pacer, PacerClosedError
from pipeline.settings import SettingsApi, SettingsRetry
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchRecord, Target
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger
from pipeline.urls import is_on_this_machine

__all__ = ["Found", "Submitter", "look_for"]

logger = logging.getLogger(__name__)
_BODIES = 2
"""That may be on disk beside the one that is being built."""
_CLOCKS_APART = timedelta(minutes=10)
"""How far the service's clock may be behind ours."""
_LEAST_SETTLING_S = 15.0
_LONGEST_SETTLING_S = 60.0
_QUEUE_FULL_S = 60.0


class Found(Enum):
    """What came of looking for a batch that was not found yet."""

    NOWHERE = "nowhere"
    MAYBE = "maybe"


class Submitter:
    """Creates the batches of one run, one after the other.

    Args:
        service: the account's batches.
        ledger: notes intent and id.
        pacer: asked whether the run still sends anything.
        api: timeouts.
        retry: attempts.
        waits: whether a service that takes no more for now is waited for, however long.

    Attributes:
        creating: the numbers of the batches that are being created.
        refused_bytes: the size of the smallest body that the service found too large.
        on_created: told of each batch that is, or may be, at the service.
    """

    def __init__(  # noqa: PLR0913 - the stage's parts, each given once where the run is put together
        self,
        service: Batches,
        ledger: Ledger,
        pacer: Pacer,
        api: SettingsApi,
        retry: SettingsRetry,
        *,
        waits: bool = True,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._pacer = pacer
        self._api = api
        self._retry = retry
        self._queue: deque[BuiltBatch] = deque()
        self._any = anyio.Event()
        self._handled = anyio.Event()
        self._waits = waits
        self._ending = anyio.Event()
        self._stopped = self._refuses = self._is_over = False
        self.creating: set[int] = set()
        self.refused_bytes: int | None = None
        self.on_created: Callable[[], None] = lambda: None

    def put(self, batch: BuiltBatch) -> None:
        """Takes a batch that is whole; where none is created any more its items wait, and the journal is tidied."""
        if self._is_over:
            batch.body.unlink(missing_ok=True)
            return
        self.creating.add(batch.number)
        self._queue.append(batch)
        self._any.set()

    async def room(self) -> None:
        """Waits until another batch may be built.

        Raises:
            PacerClosedError: none may, since the run ends.
        """
        while len(self.creating) >= _BODIES and not self._refuses:
            await self._handled.wait()
            if self._stopped:
                raise PacerClosedError

    async def idle(self) -> None:
        """Waits until every batch that was put has been created or given up."""
        while self.creating:
            await self._handled.wait()

    def stop(self, *, refuse: bool) -> None:
        """The run ends: what waits for room is sent away, and what is not under way is given up where told to."""
        self._stopped, self._refuses = True, refuse or self._refuses
        self._ending.set()
        self._tell()

    def divert(self) -> None:
        """No batch is created any more, though the run goes on; what is under way is awaited."""
        self._refuses = True
        self._ending.set()
        self._tell()

    async def serve(self) -> None:
        """Creates what is put, for ever.

        Raises:
            RunStoppedError: the service refuses; the batch's items wait.
            OutputError: intent or id could not be written.
        """
        try:
            while True:
                batch = await self._next()
                too_large = self.refused_bytes is not None and batch.size >= self.refused_bytes and batch.items > 1
                await (self._give_up(batch) if self._refuses or too_large else self._submit(batch))
                self.creating.discard(batch.number)
                self._tell()
        finally:
            self._is_over = True
            self.creating.clear()  # what was put and not created is undone by the next start
            self._tell()

    async def _next(self) -> BuiltBatch:
        while not self._queue:
            self._any = anyio.Event()
            await self._any.wait()
        return self._queue.popleft()

    def _tell(self) -> None:
        self._handled.set()
        self._handled = anyio.Event()

    async def _submit(self, batch: BuiltBatch) -> None:
        """Creates it, however often that has to be tried; where that is hopeless, its items wait.

        Raises:
            RunStoppedError: as `serve`.
        """
        unknown = unreached = asked_to_wait = 0
        while True:
            intended = datetime.now(UTC)
            await self._ledger.keep(lambda journal: book.intend(journal, batch.number, intended))  # noqa: B023 - awaited
            try:
                return await self._created(batch, await self._service.create(batch.body, self._api.timeout_seconds))
            except BatchTooLargeError as error:
                return await self._too_large(batch, error)
            except RunStoppedError:
                await self._give_up(batch)
                raise
            except TryLaterError as error:
                unreached += not error.limited
                asked_to_wait += error.limited
                await self._ensure_hope(batch, error, unreached)
                if not await self._later(batch, error, asked_to_wait):
                    return await self._give_up(batch)
            except CreationUnknownError as error:
                unknown += 1
                if await self._found(batch, intended, error):
                    return None
                await self._ensure_hope(batch, error, unknown)

    async def _ensure_hope(self, batch: BuiltBatch, error: Exception, failed: int) -> None:
        """Gives up after so many attempts that failed.

        Raises:
            RunStoppedError: there were.
        """
        if failed >= self._retry.max_attempts:
            await self._give_up(batch)
            raise RunStoppedError(f"no batch can be created: {error}; run again to go on") from error

    async def _created(self, batch: BuiltBatch, state: BatchState) -> None:
        with anyio.CancelScope(shield=True):
            await self._ledger.keep(lambda journal: book.created(journal, batch.number, state.batch_id))
        batch.body.unlink(missing_ok=True)
        self.on_created()
        logger.info("batch %s: %d items, %d bytes", state.batch_id, batch.items, batch.size)

    async def _too_large(self, batch: BuiltBatch, error: BatchTooLargeError) -> None:
        logger.warning("a batch of %d bytes is refused (%s): smaller ones are built", batch.size, error)
        self.refused_bytes = min(batch.size, self.refused_bytes or batch.size)
        await self._give_up(batch, alone=batch.items == 1)  # what is too large by itself may be mended by itself

    async def _give_up(self, batch: BuiltBatch, *, alone: bool = False) -> None:
        with anyio.CancelScope(shield=True):
            await self._ledger.keep(lambda journal: book.undo(journal, batch.number, alone=alone))
        self._pacer.budget.settle(batch.worst_usd, 0.0)
        batch.body.unlink(missing_ok=True)

    async def _later(self, batch: BuiltBatch, error: TryLaterError, times: int) -> bool:
        """Waits as long as the service asks; whether the batch is still to be created then."""
        logger.info("a batch of %d items has to wait: %s", batch.items, error)
        if not self._waits and times >= self._retry.max_attempts:
            self._refuses = True
            return False
        with anyio.move_on_after(error.wait_s or min(self._api.poll_seconds, _QUEUE_FULL_S)):
            await self._ending.wait()
        return not self._ending.is_set()

    async def _found(self, batch: BuiltBatch, intended: datetime, error: CreationUnknownError) -> bool:
        """Looks for a batch whose creation is not known; false where it was not created, and may be."""
        logger.warning("whether a batch of %d items was created is not known (%s): looking", batch.items, error)
        await self._pacer.sleep(settling_s(self._api))
        record = BatchRecord(batch.number, Target("", "", ""), None, intended, batch.items, batch.items, 0.0)
        found = await look_for(record, self._service, self._ledger)
        if isinstance(found, BatchState):
            await self._created(batch, found)
        elif found is Found.NOWHERE and not self._ending.is_set():
            return False
        else:
            batch.body.unlink(missing_ok=True)  # it stays intended, and is looked for with every poll
            self.on_created()
        return True


def settling_s(api: SettingsApi) -> float:
    """How long a batch may take to be listed after the attempt that created it; a server on this machine takes none."""
    least = 0.0 if is_on_this_machine(api.base_url) else _LEAST_SETTLING_S
    return min(max(api.poll_seconds, least), _LONGEST_SETTLING_S)


async def look_for(record: BatchRecord, service: Batches, ledger: Ledger) -> BatchState | Found:
    """A batch whose creation is not known, among those of the account.

    Raises:
        RunStoppedError: the service does not list them.
    """
    intended = record.intended_at or datetime.now(UTC)
    known = await ledger.ask(_known_ids)
    verdict = Found.NOWHERE
    for state in await service.since(intended - _CLOCKS_APART):
        if state.batch_id in known or state.items != record.size or state.archived:
            continue
        if not state.ended:
            verdict = Found.MAYBE
            continue
        is_ours = await _is_ours(state, record, service, ledger)
        if is_ours:
            return state
        if is_ours is None:
            verdict = Found.MAYBE
    return verdict


async def _is_ours(state: BatchState, record: BatchRecord, service: Batches, ledger: Ledger) -> bool | None:
    """Whether its results name our items; `None` where they cannot be read now."""
    try:
        async with aclosing(service.results(state)) as lines:
            async for line in lines:
                result = parse_result(line)
                if result is not None:
                    wanted = result.custom_id
                    return await ledger.ask(lambda journal: book.item_of(journal, record.number, wanted)) is not None  # noqa: B023 - awaited
    except Unanswered:
        return None
    return None


def _known_ids(journal: Journal) -> set[str]:
    return {record.batch_id for record in book.batches_of(journal) if record.batch_id is not None}
