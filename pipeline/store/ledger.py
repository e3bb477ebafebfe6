"""The ledger: the one writer of a dataset, as seen from the event loop.

`Ledger` takes attempts and outcomes from many tasks, has them written in grouped commits (see `commits` and `writer`)
and pending rows turned into parts (see `publisher`). Whatever was handed over before the run ended, however it ended,
is written.

When something cannot be written (no space, no rights), each task whose work it was hears an `OutputError`, and
`depart` refuses: no new request is sent. What is in flight is still taken, as far as it can be written; a row that
cannot be is named in the log, by item and request id. An item that has an answer under the run's fingerprint already
is answered in its place (see `replacing`): that `(item_id, fingerprint)` is unique is kept here, not by who asks.

Each piece of work is a function of the journal, so the order of writes is read in `journal` and nowhere else.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import anyio
from anyio import to_thread

from pipeline.errors import OutputError
from pipeline.records import Attempt, Item, Outcome
from pipeline.store.batches import mark_done
from pipeline.store.commits import Commits
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal, PaidTurn, PendingRow, SettledAs, Standing, item_key
from pipeline.store.parts import made_folder, write_whole
from pipeline.store.places import state_path
from pipeline.store.publisher import Publisher
from pipeline.store.publishing import read_answer
from pipeline.store.rows import attempt_row, outcome_row

__all__ = ["KEPT_BYTES", "DatasetSettings", "Ledger", "RunIdentity", "open_ledger"]

logger = logging.getLogger(__name__)

_HOLD_S = 0.01
"""How long a commit waits for others to join it, a hundredth of an answer's time or less..."""
_CROWD = 8
"""... where at least so many requests are in flight, of which some are about to be answered."""
KEPT_BYTES = 1_000_000
"""The most that is kept of an answer that cannot be read."""


class Ledger:
    """Takes what happened, and answers once it is durable. Made by `open_ledger`."""

    def __init__(self, journal: Journal, settings: DatasetSettings, run: RunIdentity) -> None:
        self._journal = journal
        self._settings = settings
        self._run = run
        self._flights = count(1)
        self._in_flight = 0
        self._commits = Commits(journal, settings.output, self._begin, self._hold_s)
        self._publisher = Publisher(self._commits, settings, run.run_id)

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """Notes that a request is about to be sent; not waited for. Returns the number to give back in `arrive`.

        Raises:
            OutputError: something could not be written, so nothing may be sent.
        """
        if self._commits.failure is not None:
            raise self._commits.failure
        flight = next(self._flights)
        self._in_flight += 1
        note = attempt_row(Attempt(item_id, turn, attempt, started_at, 0.0, error_type="connection_error"), self._run)
        self._commits.put(lambda journal: journal.add_flight(flight, note.text))
        return flight

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Writes down how a request ended, and the answer if it has one; durable when this returns.

        Raises:
            OutputError: it could not be written.
        """
        self._in_flight -= 1
        row = attempt_row(attempt, self._run)

        def work(journal: Journal) -> None:
            journal.end_flight(flight)
            _add_attempt(journal, row, attempt)

        await self._add(row, work, attempt.request_id)

    async def collect(
        self, attempt: Attempt, fingerprint: str, note: Callable[[Journal], None], failed: Outcome | None = None
    ) -> None:
        """Writes down an item's result of a batch, and the answer if it has one; durable when this returns.

        Args:
            attempt: the row; a batch that an earlier run submitted may be of another fingerprint than this run's.
            fingerprint: that it was asked under.
            note: what is noted in the same transaction.
            failed: the item's end, where it fails by it.

        Raises:
            OutputError: it could not be written.
        """
        run = replace(self._run, fingerprint=fingerprint)
        row = attempt_row(attempt, run)
        end = outcome_row(failed, run, datetime.now(UTC)) if failed is not None else None

        def work(journal: Journal) -> None:
            _add_attempt(journal, row, attempt)
            note(journal)
            if end is not None and failed is not None:
                _settle(journal, item_key(attempt.item_id), fingerprint, _standing(failed, end))
                journal.add_row(end)

        if end is not None:
            self._publisher.expect(end.kind)
        await self._add(row, work, attempt.request_id)

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps the bytes of an answer that cannot be read and may have been paid for, at most `KEPT_BYTES`.

        Raises:
            OutputError: they could not be written.
        """
        place = state_path(self._settings.output) / "unreadable"
        safe = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)[:60]

        def keep() -> None:
            write_whole(made_folder(place, 0o700) / f"{safe}.body", raw[:KEPT_BYTES], mode=0o600)

        await self._commits.on_files(keep)

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

    async def settle(
        self,
        outcome: Outcome,
        *,
        key: bytes | None = None,
        reuse: bytes | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Writes down what an item came to; durable when this returns.

        Args:
            outcome: the row of `results` or `failures`.
            key: under which key the item is settled, where its id alone does not say (a duplicate id).
            reuse: the key by which identical requests find this answer.
            fingerprint: that it was asked under, where it is not the run's.

        Raises:
            OutputError: it could not be written.
        """
        mark = fingerprint or self._run.fingerprint
        run = self._run if mark == self._run.fingerprint else replace(self._run, fingerprint=mark)
        row = outcome_row(outcome, run, datetime.now(UTC), reuse=reuse)
        standing = _standing(outcome, row)
        settled_key = key or item_key(outcome.item.item_id)

        def work(journal: Journal) -> None:
            is_second = standing.state is SettledAs.SUCCEEDED and journal.has_succeeded(settled_key, mark)
            if is_second:
                self._publisher.expect_replacement()
            journal.add_row(replace(row, replaces=True) if is_second else row)
            _settle(journal, settled_key, mark, standing)

        await self._add(row, work, outcome.request_id)

    async def ask(self, question: Callable[[Journal], Any]) -> Any:
        """Reads from the journal, in order with the writes; a question may not write."""
        return await self._commits.do(question, writes=False)

    async def keep(self, work: Callable[[Journal], Any]) -> Any:
        """Writes down what belongs to no row; durable when this returns what the work came to.

        Raises:
            OutputError: it could not be written.
        """
        return await self._commits.do(work)

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
        await self._publisher.publish(full_only=full_only)

    async def _add(self, row: PendingRow, work: Callable[[Journal], None], request_id: str | None) -> None:
        """Writes down one row, and has it published once enough of its kind wait; one that cannot be is named."""
        entry = self._commits.put(work)
        self._publisher.expect(row.kind)
        try:
            await self._commits.done(entry)
        except OutputError:
            text = "not written to %s, since its disk failed: item %s, request %s"
            logger.error(text, row.kind, row.body["item_id"][:100], request_id)  # noqa: TRY400 - no traceback
            raise

    def _begin(self, journal: Journal) -> None:
        """What stands in the first transaction of a run, with its first row: an idle run leaves no trace."""
        journal.accept(self._run.fingerprint)
        journal.add_run(self._run.run_id, {"started_at": datetime.now(UTC).isoformat(), **self._run.body})

    async def serve(self) -> None:
        """Writes until `close`."""
        await self._commits.serve()

    async def flush_regularly(self) -> None:
        """Publishes when enough rows wait, and at least every `flush_seconds` while any do, until something fails."""
        await self._publisher.flush_regularly()

    @property
    def failure(self) -> OutputError | None:
        """Why nothing more can be written, once that is so."""
        return self._commits.failure

    @property
    def has_written(self) -> bool:
        """Whether this run has changed the dataset."""
        return self._commits.has_written

    async def close(self) -> None:
        """Publishes what is pending, unless something failed already, and ends the writer."""
        with anyio.CancelScope(shield=True):
            try:
                if self.failure is None and self.has_written:
                    await self._publisher.publish()
                    await self._publisher.replace()
            except OutputError:
                pass  # it stands in `failure`, which the ledger's end raises
            finally:
                self._commits.close()

    def _hold_s(self) -> float:
        return _HOLD_S if self._in_flight >= _CROWD else 0.0


@asynccontextmanager
async def open_ledger(journal: Journal, settings: DatasetSettings, run: RunIdentity) -> AsyncIterator[Ledger]:
    """The ledger of one run; leaving it publishes what is pending, whatever ended the run.

    Raises:
        OutputError: something could not be written; what was received is in the journal, or named in the message.
    """
    ledger = Ledger(journal, settings, run)
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
    if ledger.failure is not None:
        raise ledger.failure


def _add_attempt(journal: Journal, row: PendingRow, attempt: Attempt) -> None:
    journal.add_row(row)
    if attempt.answer is not None:
        paid = PaidTurn(attempt.turn, attempt.attempt, row.body, attempt.answer)
        journal.add_turn(item_key(attempt.item_id), row.body["fingerprint"], paid, row.text)


def _settle(journal: Journal, key: bytes, fingerprint: str, standing: Standing) -> None:
    journal.settle(key, fingerprint, standing)
    mark_done(journal, key, fingerprint)


def _standing(outcome: Outcome, row: PendingRow) -> Standing:
    if outcome.error is None:
        return Standing(SettledAs.SUCCEEDED)
    state = SettledAs.FAILED_RETRYABLE if outcome.error.retryable else SettledAs.FAILED
    return Standing(state, row.body["error_type"])
