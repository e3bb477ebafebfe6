"""The body of a batch, on disk while it grows: private, and never held in memory."""

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from pipeline.store.parts import made_folder

__all__ = ["BuiltBatch", "clear_bodies"]


@dataclass(slots=True)
class BuiltBatch:
    """A batch that is being built, or waits for its creation.

    Attributes:
        number: in the journal.
        body: where it stands.
        size: of it, in bytes.
        worst_usd: the most that its answers can cost.
        noting: items in the body whose rows are not in the journal yet.
        mark: of its own, so that no name of a request stands in two batches.
    """

    number: int
    body: Path
    file: BinaryIO
    items: int = 0
    size: int = 0
    worst_usd: float = 0.0
    noting: int = 0
    mark: str = field(default_factory=lambda: secrets.token_hex(3))

    @classmethod
    def begin(cls, folder: Path, number: int) -> Self:
        """An empty one.

        Raises:
            OSError: it cannot be made.
        """
        body = made_folder(folder, 0o700) / f"{number:06d}.json"
        body.touch(mode=0o600, exist_ok=False)
        return cls(number, body, body.open("wb", buffering=0))

    def write(self, piece: bytes) -> None:
        """Appends to the body.

        Raises:
            OSError: it cannot be written.
        """
        left = memoryview(piece)
        while left:
            left = left[self.file.write(left) :]
        self.size += len(piece)


def clear_bodies(folder: Path) -> None:
    """Removes bodies that an earlier run left."""
    if folder.is_dir():
        for body in folder.glob("*.json"):
            with suppress(OSError):
                body.unlink()
