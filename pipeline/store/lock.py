"""Who may write an output: locks that die with their process.

`flock` on files that stay: the kernel lets go when the process ends, however it ends, so there is no stale lock to
break. The files are never written after they were made, so that a run with nothing to do changes no byte.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import OutputHeldError

__all__ = ["OutputLock", "in_turn", "is_held"]


class OutputLock:
    """Holds an output, or one shard of it, for this process; a context manager.

    Args:
        path: the lock's file.
        shared: whether others may hold it likewise at the same time.
        what: what is held, as a refusal names it; by default the output whose `_state` the file is in.

    Raises:
        OutputHeldError: another process holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, *, shared: bool = False, what: str = "") -> None:
        self._path = path
        self._how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._what = what or f"{path.parent.parent}: another run holds this output"
        self._fd = -1

    def __enter__(self) -> Self:
        """Takes the lock without waiting."""
        self._fd = _opened(self._path)
        try:
            fcntl.flock(self._fd, self._how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise OutputHeldError(f"{self._what}; wait for it, or choose another output.path") from None
        except OSError:
            os.close(self._fd)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go."""
        os.close(self._fd)


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """A block that processes enter one after the other: each waits for the one before it, for moments.

    Raises:
        OSError: the file cannot be made.
    """
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether another process holds the lock at the moment; where there is no file, none does."""
    if not path.exists():
        return False
    try:
        with OutputLock(path):
            return False
    except OutputHeldError:
        return True


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
