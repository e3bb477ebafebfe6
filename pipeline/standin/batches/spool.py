"""Records on disk, read back by their number: what a batch asked and what came of it, without holding it in memory."""

import os
import tempfile
from array import array

__all__ = ["Spool"]

_BUFFER = 1 << 20


class Spool:
    """An append-only file of records, eight bytes of memory for each; it has no name, so nothing of it stays behind.

    Raises:
        OSError: from every method: no space, or too many open files.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=_BUFFER)  # noqa: SIM115 - lives as long as its batch
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._ends) - 1

    def append(self, record: bytes) -> None:
        """Adds a record; `seal` before reading."""
        self._file.write(record)
        self._ends.append(self._ends[-1] + len(record))

    def seal(self) -> None:
        """Hands everything to the file."""
        self._file.flush()

    def read(self, number: int) -> bytes:
        """The record of a number, from 0; from any thread."""
        start, end = self._ends[number], self._ends[number + 1]
        return os.pread(self._file.fileno(), end - start, start)

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return self._ends[-1]

    def close(self) -> None:
        """Gives the space back."""
        self._file.close()
