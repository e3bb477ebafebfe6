"""The ledger: the one writer of a dataset, as seen from the event loop.

`Ledger` takes attempts and outcomes from many tasks, has them written in grouped commits (see `writer`), and turns
pending rows into parts. Whatever was handed over before the run ended, however it ended, is written.

When something cannot be written (no space, no rights), each task whose work it was hears an `OutputError`, and
`depart` refuses: no new request is sent. What is in flight is still taken, as far as it can be written; a row that
cannot be is named in the log, by item and request id. An item that has an answer under the run's fingerprint already
is answered in its place (see `replacing`): that `(item_id, fingerprint)` is unique is kept here, not by who asks.

Each piece of work is a function of the journal, so the order of writes is read in `journal` and nowhere else.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import anyio
import pyarrow as pa
from anyio import to_thread

from pipeline.errors import OutputError
from pipeline.records import Attempt, Item, Outcome
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal, PaidTurn, PendingRow, SettledAs, Standing, item_key
from pipeline.store.parts import Stamp, made_folder, write_whole
from pipeline.store.pending import Reservation
from pipeline.store.publishing import publish_reserved, read_answer
from pipeline.store.replacing import planned, replace_rows
from pipeline.store.rows import attempt_body, attempt_row, outcome_row
from pipeline.store.schema import Kind
from pipeline.store.writer import Entry, GroupWriter

__all__ = ["KEPT_BYTES", "DatasetSettings", "Ledger", "RunIdentity", "open_ledger"]

logger = logging.getLogger(__name__)

KEPT_BYTES = 1_000_000
"""The most that is kept of an answer that cannot be read."""


class Ledger:
    """Takes what happened, and answers once it is durable. Made by `open_ledger`.

    Attributes:
        failure: why nothing more can be written, once that is so.
    """

    def __init__(self, journal: Journal, settings: DatasetSettings, run: RunIdentity) -> None:
        self._journal = journal
        self._settings = settings
        self._run = run
        self._flights = count(1)
        self._parts = count(1)
        self._path = settings.output / "_state" / "journal.sqlite"
        self._waiting = dict.fromkeys(Kind, 0)
        self._replacing = 0
        self._full = anyio.Event()
        self._publishing = anyio.Lock()
        self._writer = GroupWriter(journal, self._begin, self._note)
        self.failure: OutputError | None = None

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """Notes that a request is about to be sent; not waited for. Returns the number to give back in `arrive`.

        Raises:
            OutputError: something could not be written, so nothing may be sent.
        """
        if self.failure is not None:
            raise self.failure
        flight = next(self._flights)
        body = attempt_body(Attempt(item_id, turn, attempt, started_at, 0.0, error_type="connection_error"), self._run)
        self._writer.put(lambda journal: journal.add_flight(flight, body))
        return flight

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Writes down how a request ended, and the answer if it has one; durable when this returns.

        Raises:
            OutputError: it could not be written.
        """
        row = attempt_row(attempt, self._run)

        def work(journal: Journal) -> None:
            journal.end_flight(flight)
            journal.add_row(row)
            if attempt.answer is not None:
                paid = PaidTurn(attempt.turn, attempt.attempt, row.body, attempt.answer)
                journal.add_turn(item_key(attempt.item_id), self._run.fingerprint, paid)

        await self._add(row, work, attempt.request_id)

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps the bytes of an answer that cannot be read and may have been paid for, at most `KEPT_BYTES`.

        Raises:
            OutputError: they could not be written.
        """
        place = self._settings.output / "_state" / "unreadable"
        safe = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)[:60]

        def keep() -> None:
            write_whole(made_folder(place, 0o700) / f"{safe}.body", raw[:KEPT_BYTES], mode=0o600)

        try:
            await to_thread.run_sync(keep)
        except OSError as error:
            raise self._failed(error) from error

    async def answer_for(self, reuse: bytes) -> dict[str, Any] | None:
        """The columns of the row that answered an identical request, `None` where there is none."""
        found = await self.ask(lambda journal: journal.pending.answer_place(reuse))
        if found is None:
            return None
        body, part, item_id = found
        if body is not None or part is None:
            answer: dict[str, Any] | None = body
            return answer
        return await to_thread.run_sync(read_answer, self._settings.output, part, item_id, self._run.fingerprint)

    async def settle(self, outcome: Outcome, *, key: bytes | None = None, reuse: bytes | None = None) -> None:
        """Writes down what an item came to; durable when this returns.

        Args:
            outcome: the row of `results` or `failures`.
            key: under which key the item is settled, where its id alone does not say (a duplicate id).
            reuse: the key by which identical requests find this answer.

        Raises:
            OutputError: it could not be written.
        """
        row = outcome_row(outcome, self._run, datetime.now(UTC), reuse=reuse)
        standing = _standing(outcome, row)
        settled_key = key or item_key(outcome.item.item_id)

        def work(journal: Journal) -> None:
            is_second = standing.state is SettledAs.SUCCEEDED and journal.has_succeeded(
                settled_key, self._run.fingerprint
            )
            self._replacing += is_second
            journal.add_row(replace(row, replaces=is_second))
            journal.settle(settled_key, self._run.fingerprint, standing)

        await self._add(row, work, outcome.request_id)

    async def ask(self, question: Callable[[Journal], Any]) -> Any:
        """Reads from the journal, in order with the writes; a question may not write."""
        return await self._done(self._writer.put(question, writes=False))

    async def keep(self, work: Callable[[Journal], None]) -> None:
        """Writes down what belongs to no row; durable when this returns.

        Raises:
            OutputError: it could not be written.
        """
        await self._done(self._writer.put(work))

    async def paid_turns(self, item: Item) -> list[PaidTurn]:
        """The turns of this item that were paid and answered already, in order."""
        turns: list[PaidTurn] = await self.ask(
            lambda journal: journal.paid_turns(item_key(item.item_id), self._run.fingerprint)
        )
        return turns

    async def publish(self, *, full_only: bool = False) -> None:
        """Puts every pending row into parts, or those of the tables that have enough of them.

        Raises:
            OutputError: a part could not be written; its rows are in the journal.
        """
        async with self._publishing:
            for kind in Kind:
                while self._waiting[kind] >= (self._settings.rows_per_file if full_only else 1):
                    reservation = await self._reserve(kind)
                    self._waiting[kind] = self._waiting[kind] - reservation.rows if reservation else 0
                    if reservation is not None:
                        await self._write(reservation)

    async def _replace(self) -> None:
        """Puts answers that take the place of published ones there; see `replacing`."""
        while self._replacing:
            self._replacing = 0
            for one in await self._threaded(planned, self._settings, self._path):
                numbers, part = one.numbers, one.part
                if part is None:
                    await self._done(self._writer.put(partial(_unmark, numbers)))
                    self._waiting[Kind.RESULTS] += len(numbers)
                    await self.publish()
                    continue
                stamp = await self._threaded(replace_rows, self._settings, one, self._path)
                await self._done(self._writer.put(partial(_mark_replaced, numbers, part, stamp)))

    async def _threaded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Work on files, whose failure is the run's."""
        try:
            return await to_thread.run_sync(work, *arguments)
        except (OSError, sqlite3.Error, pa.ArrowException) as error:
            raise self._failed(error) from error

    async def _reserve(self, kind: Kind) -> Reservation | None:
        name = f"part-{self._run.run_id}-{next(self._parts):05d}.parquet"
        most = self._settings.rows_per_file
        entry = self._writer.put(lambda journal: journal.pending.reserve(kind, name, most))
        reservation: Reservation | None = await self._done(entry)
        return reservation

    async def _write(self, reservation: Reservation) -> None:
        stamp = await self._threaded(publish_reserved, self._settings, reservation, self._path)
        await self._done(self._writer.put(lambda journal: journal.pending.published(reservation.name, stamp)))

    async def _add(self, row: PendingRow, work: Callable[[Journal], None], request_id: str | None) -> None:
        """Writes down one row, and has it published once enough of its kind wait; one that cannot be is named."""
        entry = self._writer.put(work)
        self._waiting[row.kind] += 1
        if self._waiting[row.kind] >= self._settings.rows_per_file:
            self._full.set()
        try:
            await self._done(entry)
        except OutputError:
            text = "not written to %s, since its disk failed: item %s, request %s"
            logger.error(text, row.kind, row.body["item_id"][:100], request_id)  # noqa: TRY400 - no traceback
            raise

    async def _done(self, entry: Entry) -> Any:
        await entry.done.wait()
        if isinstance(entry.error, sqlite3.Error | OSError):
            raise self._failed(entry.error) from entry.error
        if entry.error is not None:
            raise entry.error
        return entry.result

    def _failed(self, error: Exception) -> OutputError:
        """The first failure, which stays the run's."""
        if self.failure is None:
            reason = getattr(error, "strerror", None) or str(error)
            output = self._settings.output
            self.failure = OutputError(
                f"{output}: cannot be written any more: {reason}; make room or mend it, then run again to resume"
            )
        return self.failure

    def _note(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            self._failed(error)

    def _begin(self, journal: Journal) -> None:
        """What stands in the first transaction of a run, with its first row: an idle run leaves no trace."""
        journal.accept(self._run.fingerprint)
        journal.add_run(self._run.run_id, {"started_at": datetime.now(UTC).isoformat(), **self._run.body})

    async def serve(self) -> None:
        """Writes until `close`."""
        await self._writer.serve()

    async def flush_regularly(self) -> None:
        """Publishes when enough rows wait, and at least every `flush_seconds` while any do, until something fails."""
        due = anyio.current_time() + self._settings.flush_seconds
        while self.failure is None:
            with anyio.move_on_at(due):
                await self._full.wait()
            self._full = anyio.Event()
            is_due = anyio.current_time() >= due
            if is_due:
                due = anyio.current_time() + self._settings.flush_seconds
            with anyio.CancelScope(shield=True):
                try:
                    await self.publish(full_only=not is_due)
                except OutputError:
                    return  # it stands in `failure`: `depart` refuses, and the ledger's end raises it

    @property
    def has_written(self) -> bool:
        """Whether this run has changed the dataset."""
        return self._writer.has_written

    async def close(self) -> None:
        """Publishes what is pending, unless something failed already, and ends the writer."""
        with anyio.CancelScope(shield=True):
            try:
                if self.failure is None and self.has_written:
                    await self.publish()
                    await self._replace()
            except OutputError:
                pass  # it stands in `failure`, which the ledger's end raises
            finally:
                self._writer.close()

    def discard(self) -> None:
        """Lets go of what a run that broke off may have left open."""
        self._writer.discard()


@asynccontextmanager
async def open_ledger(journal: Journal, settings: DatasetSettings, run: RunIdentity) -> AsyncIterator[Ledger]:
    """The ledger of one run; leaving it publishes what is pending, whatever ended the run.

    Raises:
        OutputError: something could not be written; what was received is in the journal, or named in the message.
    """
    ledger = Ledger(journal, settings, run)
    try:
        async with anyio.create_task_group() as writers:
            writers.start_soon(ledger.serve)
            try:
                async with anyio.create_task_group() as flushers:  # ended before the writer that they hand work to
                    flushers.start_soon(ledger.flush_regularly)
                    try:
                        yield ledger
                    finally:
                        flushers.cancel_scope.cancel()
            finally:
                await ledger.close()
    finally:
        ledger.discard()
    if ledger.failure is not None:
        raise ledger.failure


def _unmark(numbers: tuple[int, ...], journal: Journal) -> None:
    journal.pending.nothing_to_replace(numbers)


def _mark_replaced(numbers: tuple[int, ...], part: str, stamp: Stamp, journal: Journal) -> None:
    journal.pending.replaced(numbers, part, stamp)


def _standing(outcome: Outcome, row: PendingRow) -> Standing:
    if outcome.error is None:
        return Standing(SettledAs.SUCCEEDED)
    state = SettledAs.FAILED_RETRYABLE if outcome.error.retryable else SettledAs.FAILED
    return Standing(state, row.body["error_type"])
