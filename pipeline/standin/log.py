"""What the stand-in answered and billed: JSON lines, synced to disk before the answer leaves.

One writer thread groups what waits into one `fsync`. Two kinds of lines: `answer` (what was answered, and whether it
is billed) and `delivered` (the whole answer was handed to an open socket). Keys do not appear.
"""

import asyncio
import json
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["AnswerLog"]


@dataclass(frozen=True, slots=True)
class _Entry:
    line: bytes
    done: "asyncio.Future[None]"
    loop: asyncio.AbstractEventLoop

    def settle(self, error: OSError | None) -> None:
        """Tells the waiting request; one whose loop has ended needs no telling."""
        try:
            self.loop.call_soon_threadsafe(_finish, self.done, error)
        except RuntimeError:
            pass


class AnswerLog:
    """An append-only log; `None` as a path keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._thread = threading.Thread(target=self._work, name="standin-log", daemon=True)
            self._thread.start()

    async def add(self, line: Mapping[str, Any]) -> None:
        """Writes a line; it is on disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        await self.extend([line])

    async def extend(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Writes lines, in their order; they are on disk when this returns.

        Raises:
            OSError: they could not be written.
        """
        if self._thread is None:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Entry("".join(json.dumps(line) + "\n" for line in lines).encode(), done, loop))
        await done

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """As `extend`, for other threads.

        Raises:
            OSError: they could not be written.
        """
        if self._thread is not None:
            asyncio.run(self.extend(lines))

    def close(self) -> None:
        """Writes what waits and closes the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            os.close(self._fd)
            self._thread = None

    def _work(self) -> None:
        ended = False
        while not ended:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            ended = None in group
            entries = [entry for entry in group if entry is not None]
            error = self._write(b"".join(entry.line for entry in entries))
            for entry in entries:
                entry.settle(error)

    def _write(self, lines: bytes) -> OSError | None:
        try:
            while lines:
                lines = lines[os.write(self._fd, lines) :]
            os.fsync(self._fd)
        except OSError as error:
            return error
        return None


def _finish(done: "asyncio.Future[None]", error: OSError | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(None)
