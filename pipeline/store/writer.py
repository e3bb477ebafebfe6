"""Grouped commits: work from many tasks, written by one thread, a synced transaction a group.

A group is whatever came while the last one was being synced; where many are at work it also waits a moment for others
to join it, since a commit costs as much CPU as the rows of three items, however few are in it (PostgreSQL's
`commit_delay`, which too waits only where others are about to commit). A group that fails is tried again piece by
piece, so that what is at fault costs itself alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread

from pipeline.store.journal import Journal

__all__ = ["Entry", "GroupWriter", "Work"]

Work = Callable[[Journal], Any]
"""A function of the journal, so that the order of writes is read in `journal` and nowhere else."""


@dataclass(slots=True)
class Entry:
    """One piece of work for the writer; `done` is set once it is synced, or has failed with `error`."""

    work: Work
    writes: bool
    done: anyio.Event
    result: Any = None
    error: Exception | None = None


class GroupWriter:
    """The one thread that touches the journal while a run goes.

    Args:
        journal: what the work is done on.
        first: done once, in the first transaction.
        on_error: told of every piece of work that failed, before the task that waits for it.
        hold_s: how long the next group waits for others to join it, in seconds.

    Attributes:
        has_written: whether anything was committed.
    """

    def __init__(
        self,
        journal: Journal,
        first: Work,
        on_error: Callable[[Exception], object],
        hold_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._journal = journal
        self._first = first
        self._on_error = on_error
        self._hold_s = hold_s
        self._waiting: list[Entry] = []
        self._any = anyio.Event()
        self._closed = anyio.Event()
        self._one_thread = anyio.CapacityLimiter(1)
        self.has_written = False

    def put(self, work: Work, *, writes: bool = True) -> Entry:
        """Hands over a piece of work; not waited for. Pieces are done in the order in which they were put.

        Raises:
            anyio.ClosedResourceError: the writer was closed.
        """
        if self._closed.is_set():
            raise anyio.ClosedResourceError
        entry = Entry(work, writes, anyio.Event())
        self._waiting.append(entry)
        if len(self._waiting) == 1:
            self._any.set()
        return entry

    async def serve(self) -> None:
        """Writes one group after the other until `close`; what was put before is written, however the run ends."""
        with anyio.CancelScope(shield=True):
            while group := await self._next_group():
                await to_thread.run_sync(self._commit, group, limiter=self._one_thread)
                for entry in group:
                    if entry.error is not None:
                        self._on_error(entry.error)
                    entry.done.set()

    def close(self) -> None:
        """No more work: `serve` ends once what it was given is written."""
        self._closed.set()
        self._any.set()

    async def _next_group(self) -> list[Entry]:
        """What waits, once anything does; nothing where nothing will."""
        await self._any.wait()
        hold_s = self._hold_s()
        if hold_s > 0:
            with anyio.move_on_after(hold_s):
                await self._closed.wait()
        group, self._waiting = self._waiting, []
        if not self._closed.is_set():
            self._any = anyio.Event()
        return group

    def _commit(self, group: Sequence[Entry]) -> None:
        try:
            if any(entry.writes for entry in group):
                self._transact(group)
            else:
                self._do(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, the task whose work it was must hear it
            if len(group) == 1:
                group[0].error = error
                return
            for entry in group:
                self._commit([entry])

    def _transact(self, group: Sequence[Entry]) -> None:
        with self._journal.transaction():
            if not self.has_written:
                self._first(self._journal)
            self._do(group)
        self.has_written = True

    def _do(self, group: Sequence[Entry]) -> None:
        for entry in group:
            entry.result = entry.work(self._journal)
