"""What a run has written, and the first failure to write, which stays the run's.

Between the ledger and its `writer`: work is awaited until it is synced, and what goes wrong with the disk becomes one
`OutputError` for whoever waits and for whoever comes later.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from anyio import to_thread

from pipeline.errors import OutputError
from pipeline.store.journal import Journal
from pipeline.store.writer import Entry, GroupWriter, Work

__all__ = ["Commits"]


class Commits:
    """The commits of one run.

    Args:
        journal: what they are made to.
        output: the dataset's place, for messages.
        first: done once, in the first transaction: an idle run leaves no trace.
        hold_s: how long the next group waits for others to join it, in seconds.

    Attributes:
        failure: why nothing more can be written, once that is so.
    """

    def __init__(self, journal: Journal, output: object, first: Work, hold_s: Callable[[], float]) -> None:
        self._output = output
        self._writer = GroupWriter(journal, first, self._note, hold_s)
        self.failure: OutputError | None = None

    @property
    def has_written(self) -> bool:
        """Whether anything was committed."""
        return self._writer.has_written

    def put(self, work: Work) -> Entry:
        """Hands over a write; not waited for."""
        return self._writer.put(work)

    async def do(self, work: Work, *, writes: bool = True) -> Any:
        """Has work done, in order with all other, and returns what it came to once it is synced.

        Raises:
            OutputError: it could not be written.
        """
        return await self.done(self._writer.put(work, writes=writes))

    async def done(self, entry: Entry) -> Any:
        """What was handed over, once it is synced.

        Raises:
            OutputError: it could not be written.
        """
        await entry.done.wait()
        if isinstance(entry.error, sqlite3.Error | OSError):
            raise self.failed(entry.error) from entry.error
        if entry.error is not None:
            raise entry.error
        return entry.result

    async def on_files(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Work on files, in a thread.

        Raises:
            OutputError: it failed.
        """
        try:
            return await to_thread.run_sync(work, *arguments)
        except (OSError, sqlite3.Error, pa.ArrowException) as error:
            raise self.failed(error) from error

    def failed(self, error: Exception) -> OutputError:
        """The first failure, which stays the run's."""
        if self.failure is None:
            reason = getattr(error, "strerror", None) or str(error)
            self.failure = OutputError(
                f"{self._output}: cannot be written any more: {reason}; make room or mend it, then run again to resume"
            )
        return self.failure

    async def serve(self) -> None:
        """Writes until `close`."""
        await self._writer.serve()

    def close(self) -> None:
        """No more work: `serve` ends once what it was given is written."""
        self._writer.close()

    def _note(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            self.failed(error)
