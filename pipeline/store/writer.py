"""Grouped commits: work from many tasks, written by one thread, a synced transaction a group.

A group is whatever came while the last one was being synced: no timer, no added latency, and as few `fsync` as the
disk allows. A group that fails is tried again piece by piece, so that what is at fault costs itself alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.store.journal import Journal

__all__ = ["Entry", "GroupWriter"]

Work = Callable[[Journal], Any]


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

    Attributes:
        has_written: whether anything was committed.
    """

    def __init__(self, journal: Journal, first: Work, on_error: Callable[[Exception], object]) -> None:
        self._journal = journal
        self._first = first
        self._on_error = on_error
        self._send: MemoryObjectSendStream[Entry]
        self._receive: MemoryObjectReceiveStream[Entry]
        self._send, self._receive = anyio.create_memory_object_stream[Entry](math.inf)
        self._one_thread = anyio.CapacityLimiter(1)
        self.has_written = False

    def put(self, work: Work, *, writes: bool = True) -> Entry:
        """Hands over a piece of work; not waited for. Pieces are done in the order in which they were put."""
        entry = Entry(work, writes, anyio.Event())
        self._send.send_nowait(entry)
        return entry

    async def serve(self) -> None:
        """Writes one group after the other until `close`; what was put before is written, however the run ends."""
        with anyio.CancelScope(shield=True):
            async for first in self._receive:
                group = [first, *self._drain()]
                await to_thread.run_sync(self._commit, group, limiter=self._one_thread)
                for entry in group:
                    if entry.error is not None:
                        self._on_error(entry.error)
                    entry.done.set()

    def close(self) -> None:
        """No more work: `serve` ends once what it was given is written."""
        self._send.close()

    def discard(self) -> None:
        """Closes both ends."""
        self._send.close()
        self._receive.close()

    def _drain(self) -> list[Entry]:
        waiting = []
        while True:
            try:
                waiting.append(self._receive.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return waiting

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
