"""An object of a store: what is known of it, and its content as a file. No I/O of its own."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Self

__all__ = ["ObjectFile", "ObjectStat"]


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store says of an object."""

    bytes: int
    e_tag: str | None
    changed: datetime

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Self:
        """From what the client says of it."""
        return cls(int(meta["size"]), meta.get("e_tag"), meta["last_modified"])

    @property
    def version(self) -> int:
        """A number that is another for another content, where the store tells."""
        told = self.e_tag or self.changed.isoformat()
        return int.from_bytes(blake2b(told.encode(), digest_size=7).digest())


class ObjectFile(io.RawIOBase):
    """An object as a file that is read by ranges.

    Args:
        read: gives the bytes from one place to another of the version with an ETag.
        found: what the store says of the object.
    """

    def __init__(self, read: Callable[[int, int, str | None], bytes], found: ObjectStat) -> None:
        self._read = read
        self._found = found
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes there."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.bytes}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as there is something."""
        end = min(self._at + len(buffer), self._found.bytes)
        if end <= self._at:
            return 0
        read = self._read(self._at, end, self._found.e_tag)
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)
