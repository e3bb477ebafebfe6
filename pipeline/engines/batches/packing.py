"""Questions written into batches: a body that grows on disk, and its items in the journal beside it.

A batch is closed when the next question would make it larger than the service takes, in bytes or in items; bytes bind
first where images travel in the request. Memory is that of the question being written. The body is private, stands in
the state folder, and goes with its creation: a start that finds one lets go of it, and its items are prepared again.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import anyio
from anyio import to_thread

from pipeline.api.batches import MAX_BYTES, MAX_ITEMS
from pipeline.api.catalogue import BATCH_FACTOR
from pipeline.api.client import Question
from pipeline.engines.batches.bodies import BuiltBatch
from pipeline.engines.batches.skeletons import packed
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import OutputError
from pipeline.limits.budget import Budget
from pipeline.limits.pacer import BudgetReachedError, PacerClosedError
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchItem, Target
from pipeline.store.ledger import Ledger

__all__ = ["Packer", "custom_id"]

_ROUNDING_USD = 1e-9
_MOST_AROUND = 100
"""Bytes around a request's params: its name is at most 64."""
_HEAD, _JOINT, _TAIL = b'{"requests": [', b",\n", b"]}"


class Submitter(Protocol):
    """Whoever creates batches; `refused_bytes` is the size of the smallest body that was too large."""

    refused_bytes: int | None

    def put(self, batch: BuiltBatch) -> None:
        """Takes one."""

    async def room(self) -> None:
        """Waits until another may be built: bodies that wait take room on disk.

        Raises:
            PacerClosedError: none may, since the run ends.
        """


class Packer:
    """Builds batches, one at a time.

    Args:
        ledger: notes what is in them.
        target: what the run's batches are for.
        folder: for bodies.
        budget: of the run; an item reserves the most that it can cost.
        submitter: takes batches that are whole.
        waits: whether the run stays until what is in flight has ended.

    Attributes:
        deferred: items that were left to wait.
        defers: whether an item that was never asked waits for an identical one that was, and is asked again first.
    """

    def __init__(  # noqa: PLR0913 - the stage's parts, each given once where the run is put together
        self,
        ledger: Ledger,
        target: Target,
        folder: Path,
        budget: Budget,
        submitter: "Submitter",
        *,
        waits: bool = True,
    ) -> None:
        self._ledger = ledger
        self._target = target
        self._folder = folder
        self._budget = budget
        self._submitter = submitter
        self._open: BuiltBatch | None = None
        self._lock = anyio.Lock()
        self._noted = anyio.Event()
        self._changed = anyio.Event()
        self._adding: dict[bytes, anyio.Event] = {}
        self._stopped = self._diverted = self._is_torn = False
        self._waits = waits
        self.deferred = 0
        self.defers = True

    @property
    def most_bytes(self) -> int:
        """Of a body: half of one that was too large, once there was any."""
        refused = self._submitter.refused_bytes
        return MAX_BYTES if refused is None else min(MAX_BYTES, refused // 2)

    async def add(self, ready: ReadyItem, question: Question, reuse: bytes | None) -> bool:
        """Puts an item's question into the batch, and says whether it did.

        Where it did not, the item waits: for an identical one that is asked already, or as nothing is built any more.

        Raises:
            BudgetReachedError: the budget has no room, and nothing in flight can make any.
            PacerClosedError: the run ends; the item stays open.
            OutputError: it could not be written.
        """
        item = await self._item(ready, question, reuse)
        if reuse is None:
            return await self._add(item, question.body)
        while reuse in self._adding:
            await self._adding[reuse].wait()
        self._adding[reuse] = done = anyio.Event()
        try:
            twins, is_answered = await self._ledger.ask(
                lambda journal: (book.twins_of(journal, item.key, reuse), bool(journal.pending.answer_place(reuse)))
            )
            is_new = (item.turn, item.attempt) == (1, 1)
            if (is_new and is_answered) or any(is_in or (is_new and self.defers) for is_in in twins):
                return await self._defer(item)
            return await self._add(item, question.body)
        finally:
            del self._adding[reuse]
            done.set()

    async def flush(self) -> None:
        """Hands over what is built so far; a body that ends in half a line is let go of.

        Raises:
            OutputError: it could not be written.
        """
        if self._is_torn:
            await self.drop()
        async with self._lock:
            await self._close()

    async def drop(self) -> None:
        """Lets go of what is built so far: its items wait.

        Raises:
            OutputError: that could not be written.
        """
        async with self._lock:
            batch, self._open = self._open, None
            if batch is not None:
                await self._all_noted(batch)
                batch.file.close()
                await self._ledger.keep(lambda journal: book.undo(journal, batch.number))
                self._budget.settle(batch.worst_usd, 0.0)
                batch.body.unlink(missing_ok=True)

    def told(self, worst_usd: float, cost_usd: float) -> None:
        """An item in flight has its result: the budget may have room again."""
        self._budget.settle(worst_usd, cost_usd)
        self.wake()

    def stop(self) -> None:
        """The run ends: what waits for the budget is sent away."""
        self._stopped = True
        self.wake()

    def divert(self) -> None:
        """Nothing is built any more: what comes, and what waits for the budget, is left to be asked otherwise."""
        self._diverted = True
        self.wake()

    def wake(self) -> None:
        """The budget may have room again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def more_room(self) -> None:
        """Waits until something in flight has turned out cheaper than was reserved for it.

        Raises:
            BudgetReachedError: nothing is in flight, or nobody waits for it.
            PacerClosedError: the run ends.
        """
        if not self._waits or self._budget.reserved_usd <= _ROUNDING_USD:
            raise BudgetReachedError
        await self._changed.wait()
        if self._stopped:
            raise PacerClosedError

    async def _item(self, ready: ReadyItem, question: Question, reuse: bytes | None) -> BatchItem:
        known = await self._ledger.ask(lambda journal: book.standing_of(journal, ready.key, self._target.fingerprint))
        made = known.attempt if known is not None and known.turn == question.turn else 0
        attempt = max(made, question.attempts_before) + 1
        return BatchItem(
            ready.key,
            self._target.fingerprint,
            None,
            ready.item.item_id,
            question.turn,
            attempt,
            "",
            question.need.worst_usd * float(BATCH_FACTOR),
            reuse,
            packed(ready),
        )

    async def _defer(self, item: BatchItem) -> bool:
        self.deferred += 1
        await self._note(replace(item, attempt=item.attempt - 1))
        return False

    async def _add(self, item: BatchItem, body: bytes) -> bool:
        async with self._lock:
            await self._make_room(item.worst_usd)
            batch = None if self._diverted else await self._with_room(len(body) + _MOST_AROUND)
            if batch is None or self._diverted:
                return await self._defer(item)
            name = custom_id(item, batch.mark)
            line = b'{"custom_id": "%s", "params": %s}' % (name.encode(), body)
            with anyio.CancelScope(shield=True):  # a line in the body and no row of it would be paid for and not known
                await self._write(batch, (_JOINT if batch.items else _HEAD) + line)
                batch.items += 1
                self._budget.reserve(item.worst_usd)
                batch.worst_usd += item.worst_usd
                batch.noting += 1
        with anyio.CancelScope(shield=True):
            try:
                await self._note(replace(item, batch=batch.number, custom_id=name))
            finally:
                batch.noting -= 1
                self._noted.set()
        return True

    async def _make_room(self, worst: float) -> None:
        while not self._stopped and not self._diverted and not self._budget.may_reserve(worst):
            if not self._budget.could_ever(worst):
                raise BudgetReachedError
            changed = self._changed
            await self._close()
            if not changed.is_set():
                await self.more_room()
        if self._stopped:
            raise PacerClosedError

    async def _with_room(self, size: int) -> BuiltBatch:
        """A batch that has room for a line of so many bytes."""
        batch = self._open
        if batch is not None and batch.items:
            whole = batch.size + len(_JOINT) + size + len(_TAIL)
            if batch.items >= MAX_ITEMS or whole > self.most_bytes:
                await self._close()
        if self._open is None:
            self._open = await self._begun()
        return self._open

    async def _begun(self) -> BuiltBatch:
        await self._submitter.room()
        number = await self._ledger.keep(lambda journal: book.begin_batch(journal, self._target))
        try:
            return BuiltBatch.begin(self._folder, number)
        except OSError as error:
            raise OutputError(f"{self._folder}: a batch cannot be built: {error.strerror or error}") from error

    async def _write(self, batch: BuiltBatch, piece: bytes) -> None:
        try:
            await to_thread.run_sync(batch.write, piece)
        except OSError as error:
            self._is_torn = True
            self.stop()  # what follows would stand behind half a line
            raise OutputError(
                f"{batch.body}: a batch cannot be built: {error.strerror or error}; make room, then run again"
            ) from error

    async def _close(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        await self._all_noted(batch)
        try:
            await self._write(batch, _TAIL)
        finally:
            batch.file.close()
        self._submitter.put(batch)

    async def _all_noted(self, batch: BuiltBatch) -> None:
        while batch.noting:
            self._noted = anyio.Event()
            await self._noted.wait()

    async def _note(self, item: BatchItem) -> None:
        await self._ledger.keep(lambda journal: book.pack(journal, item))


def custom_id(item: BatchItem, mark: str) -> str:
    """What an item is called in the batch of that mark, and in no other: a batch is known again by it.

    At most 64 of letters, digits, `_` and `-` (the reference's section 7.1).
    """
    return f"{item.key.hex()}-{item.fingerprint[:12]}-{item.turn}-{item.attempt}-{mark}"
