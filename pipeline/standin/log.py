"""What the stand-in answered and billed: JSON lines, synced to disk before the answer leaves.

One writer thread groups what waits into one `fsync`. Two kinds of lines: `answer` (what was answered, and whether it
is billed) and `delivered` (the whole answer was handed to the socket). Keys appear as a hash alone.
"""

import asyncio
import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

__all__ = ["AnswerLog"]


class AnswerLog:
    """An append-only log; `None` as a path keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._queue: queue.SimpleQueue[tuple[bytes, asyncio.Future[None], asyncio.AbstractEventLoop] | None]
        self._queue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._thread = threading.Thread(target=self._write, name="standin-log", daemon=True)
            self._thread.start()

    async def add(self, line: dict[str, Any]) -> None:
        """Writes a line; on disk when this returns."""
        if self._thread is None:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(((json.dumps(line) + "\n").encode(), done, loop))
        await done

    def close(self) -> None:
        """Writes what waits and closes the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            os.close(self._fd)
            self._thread = None

    def _write(self) -> None:
        ended = False
        while not ended:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            ended = None in group
            entries = [entry for entry in group if entry is not None]
            if entries:
                os.write(self._fd, b"".join(line for line, _, _ in entries))
                os.fsync(self._fd)
            for _, done, loop in entries:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_finish, done)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
