"""One run at a time on one output: a lock that dies with its process.

`flock` on a file that stays: the kernel lets go when the process ends, however it ends, so there is no stale lock
to break. The file is never written after it was made, so that a run with nothing to do changes no byte.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import OutputHeldError

__all__ = ["OutputLock"]


class OutputLock:
    """Holds an output for this process; a context manager.

    Raises:
        OutputHeldError: another process holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Self:
        """Takes the lock without waiting."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise OutputHeldError(
                f"{self._path.parent.parent}: another run holds this output; wait for it, or choose another output.path"
            ) from None
        except OSError:
            os.close(self._fd)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go."""
        os.close(self._fd)
