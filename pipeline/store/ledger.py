"""The ledger: the one writer of a dataset, as seen from the event loop.

`Ledger` takes attempts and outcomes from many tasks, groups what is waiting into one synced transaction of the
journal (a group is whatever came while the last one was being synced: no timer, no added latency), and turns pending
rows into parts. Its loops run shielded: whatever was handed over before the run ended, however it ended, is written.

Each piece of work is a function of the journal, so the order of writes is read in `journal` and nowhere else.
"""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.errors import OutputError
from pipeline.records import Attempt, Item, Outcome
from pipeline.store.journal import Journal, PaidTurn, Reservation, SettledAs, Standing, item_key
from pipeline.store.parts import folder, write_part, write_whole
from pipeline.store.rows import attempt_body, attempt_row, micros, outcome_row, to_table
from pipeline.store.schema import Kind

__all__ = ["DatasetSettings", "Ledger", "RunIdentity", "open_ledger"]

KEPT_BYTES = 1_000_000
ANSWER_COLUMNS = ("caption", "replies", "stop_reason", "model", "message_id", "request_id", "warnings")


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """How the dataset is cut.

    Attributes:
        output: the dataset's folder.
        rows_per_file: a part is written when this many rows wait; also the most rows of one part.
        flush_seconds: a part is written at least this often while rows wait.
        compression: Parquet codec.
    """

    output: Path
    rows_per_file: int = 50_000
    flush_seconds: float = 60.0
    compression: str = "zstd"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What every row of a run carries, and what its `runs` entry begins with."""

    run_id: str
    fingerprint: str
    data_schema: str | None = None
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    """One piece of work for the writer; `done` is set once it is synced, or has failed."""

    work: Callable[[Journal], Any]
    done: anyio.Event
    result: Any = None
    error: BaseException | None = None


class Ledger:
    """Takes what happened, and answers once it is durable. Made by `open_ledger`."""

    def __init__(self, journal: Journal, settings: DatasetSettings, run: RunIdentity) -> None:
        self._journal = journal
        self._settings = settings
        self._run = run
        self._begun = False
        self._flights = count(1)
        self._parts = count(1)
        self._rows_waiting = 0
        self._full = anyio.Event()
        self._send: MemoryObjectSendStream[_Entry]
        self._receive: MemoryObjectReceiveStream[_Entry]
        self._send, self._receive = anyio.create_memory_object_stream[_Entry](math.inf)
        self._one_thread = anyio.CapacityLimiter(1)
        self.failure: OutputError | None = None

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """Notes that a request is about to be sent; not waited for. Returns the number to give back in `arrive`."""
        flight = next(self._flights)
        plan = Attempt(item_id, turn, attempt, started_at, 0.0, error_type="connection_error")
        body = attempt_body(plan, self._run.fingerprint, self._run.run_id)
        self._put(lambda journal: journal.add_flight(flight, body))
        return flight

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Writes down how a request ended, and the answer if it has one; durable when this returns.

        Raises:
            OutputError: it could not be written.
        """
        row = attempt_row(attempt, self._run.fingerprint, self._run.run_id)

        def work(journal: Journal) -> None:
            journal.end_flight(flight)
            journal.add_row(row)
            if attempt.answer is not None:
                paid = PaidTurn(attempt.turn, attempt.attempt, row.body, attempt.answer)
                journal.add_turn(item_key(attempt.item_id), self._run.fingerprint, paid)

        await self._written(work, rows=1)

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps the bytes of an answer that cannot be read and may have been paid for, at most `KEPT_BYTES`."""
        place = self._settings.output / "_state" / "unreadable"
        safe = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)[:100]

        def keep() -> None:
            place.mkdir(exist_ok=True, mode=0o700)
            write_whole(place / f"{safe}.body", raw[:KEPT_BYTES])

        await to_thread.run_sync(keep)

    async def answer_for(self, reuse: bytes) -> dict[str, Any] | None:
        """The columns of the row that answered an identical request, `None` where there is none."""
        found = await self.ask(lambda journal: journal.answer_place(reuse))
        if found is None:
            return None
        row, part, item_id = found
        if row is not None:
            body: dict[str, Any] = row.body
            return body
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
        row = outcome_row(
            outcome,
            fingerprint=self._run.fingerprint,
            run_id=self._run.run_id,
            created_at=datetime.now(UTC),
            data_schema=self._run.data_schema,
            reuse=reuse,
        )
        standing = _standing(outcome)
        settled_key = key or item_key(outcome.item.item_id)

        def work(journal: Journal) -> None:
            journal.add_row(row)
            journal.settle(settled_key, self._run.fingerprint, standing)

        await self._written(work, rows=1)

    async def ask(self, question: Callable[[Journal], Any]) -> Any:
        """Reads from the journal, in order with the writes."""
        return await self._done(self._put(question))

    async def paid_turns(self, item: Item) -> list[PaidTurn]:
        """The turns of this item that were paid and answered already, in order."""
        turns: list[PaidTurn] = await self.ask(
            lambda journal: journal.paid_turns(item_key(item.item_id), self._run.fingerprint)
        )
        return turns

    async def publish(self) -> None:
        """Puts every pending row into parts."""
        for kind in Kind:
            while (reservation := await self._reserve(kind)) is not None:
                await self._write(reservation)
        self._rows_waiting = 0

    async def _reserve(self, kind: Kind) -> Reservation | None:
        name = f"part-{self._run.run_id}-{next(self._parts):05d}.parquet"
        most = self._settings.rows_per_file
        reservation: Reservation | None = await self._written(lambda journal: journal.reserve(kind, name, most))
        return reservation

    async def _write(self, reservation: Reservation) -> None:
        rows = await self.ask(lambda journal: list(journal.rows_of(reservation.name)))
        write = partial(publish_part, self._settings, reservation, rows)
        try:
            await to_thread.run_sync(write, abandon_on_cancel=False)
        except OSError as error:
            self.failure = OutputError(_say(self._settings.output, error))
            raise self.failure from error
        await self._written(lambda journal: journal.published(reservation.name))

    def _put(self, work: Callable[[Journal], Any]) -> _Entry:
        entry = _Entry(work, anyio.Event())
        self._send.send_nowait(entry)
        return entry

    async def _written(self, work: Callable[[Journal], Any], *, rows: int = 0) -> Any:
        entry = self._put(work)
        self._rows_waiting += rows
        if self._rows_waiting >= self._settings.rows_per_file:
            self._full.set()
        return await self._done(entry)

    async def _done(self, entry: _Entry) -> Any:
        await entry.done.wait()
        if entry.error is not None:
            raise self.failure or entry.error
        return entry.result

    async def serve(self) -> None:
        """The writer: one group after the other until the ledger closes."""
        with anyio.CancelScope(shield=True):
            async for first in self._receive:
                group = [first, *self._drain()]
                await to_thread.run_sync(self._commit, group, limiter=self._one_thread)
                for entry in group:
                    entry.done.set()

    def _drain(self) -> list[_Entry]:
        waiting = []
        while True:
            try:
                waiting.append(self._receive.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return waiting

    def _commit(self, group: Sequence[_Entry]) -> None:
        try:
            self._journal.begin()
            if not self._begun:
                self._journal.accept(self._run.fingerprint)
                self._journal.add_run(self._run.run_id, {**self._run.body, "started_at": micros(datetime.now(UTC))})
            for entry in group:
                entry.result = entry.work(self._journal)
            self._journal.commit()
            self._begun = True
        except Exception as error:  # noqa: BLE001 - whatever the database says, each waiting task must hear it
            self._journal.rollback()
            self.failure = OutputError(_say(self._settings.output, error))
            for entry in group:
                entry.error = error

    async def flush_regularly(self) -> None:
        """Publishes when enough rows wait, and at least every `flush_seconds` while any do."""
        while True:
            with anyio.move_on_after(self._settings.flush_seconds):
                await self._full.wait()
            self._full = anyio.Event()
            if self._rows_waiting:
                with anyio.CancelScope(shield=True):
                    await self.publish()

    @property
    def has_written(self) -> bool:
        """Whether this run has changed the dataset."""
        return self._begun

    def close(self) -> None:
        """No more work: `serve` ends once what it was given is written."""
        self._send.close()


@asynccontextmanager
async def open_ledger(journal: Journal, settings: DatasetSettings, run: RunIdentity) -> AsyncIterator[Ledger]:
    """The ledger of one run; leaving it publishes what is pending, whatever ended the run.

    Raises:
        OutputError: something could not be written; what was received is in the journal, or named in the message.
    """
    ledger = Ledger(journal, settings, run)
    async with anyio.create_task_group() as writers:
        writers.start_soon(ledger.serve)
        flusher = anyio.CancelScope()

        async def flush() -> None:
            with flusher:
                await ledger.flush_regularly()

        writers.start_soon(flush)
        try:
            yield ledger
        finally:
            flusher.cancel()
            with anyio.CancelScope(shield=True):
                if ledger.failure is None and ledger.has_written:
                    await ledger.publish()
                ledger.close()


def read_answer(output: Path, part: str, item_id: str, fingerprint: str) -> dict[str, Any] | None:
    """One row of `results` out of its part, `None` where it is not there any more."""
    wanted = [("item_id", "=", item_id), ("fingerprint", "=", fingerprint)]
    try:
        rows = pq.read_table(folder(output, Kind.RESULTS) / part, columns=list(ANSWER_COLUMNS), filters=wanted)
    except (OSError, pa.ArrowException):
        return None
    found: list[dict[str, Any]] = rows.to_pylist()
    return found[0] if found else None


def publish_part(settings: DatasetSettings, reservation: Reservation, rows: Sequence[Any]) -> None:
    """Writes one reserved part into its place."""
    table = to_table(reservation, rows)
    write_part(settings.output, reservation.kind, reservation.name, table, settings.compression)


def _standing(outcome: Outcome) -> Standing:
    if outcome.error is None:
        return Standing(SettledAs.SUCCEEDED)
    state = SettledAs.FAILED_RETRYABLE if outcome.error.retryable else SettledAs.FAILED
    return Standing(state, outcome.error.error_type)


def _say(output: Path, error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{output}: cannot be written any more: {reason}; make room or mend it, then run again to resume"
