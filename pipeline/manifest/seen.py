"""Ids that stand twice in one manifest: found without memory that grows with the manifest.

They are kept by `passed`, in files without names in the output's own state folder, which go with the process.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import ErrorType, OutputError, RowError
from pipeline.manifest.identity import refs_digest
from pipeline.manifest.passed import PassedRows
from pipeline.records import Item

__all__ = ["SeenItems", "other_images"]

IN_MEMORY = 30_000
_NAMED_PLACES = 5


class SeenItems:
    """The items of one manifest that have passed; a context manager.

    Args:
        folder: of the database.
        in_memory: rows that are held in memory.

    Attributes:
        duplicates: rows dropped, since the same id with the same images has passed.
        places: where the first of them stand.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, in_memory: int = IN_MEMORY) -> None:
        self.duplicates = 0
        self.places: list[str] = []
        try:
            self._passed = PassedRows(folder, in_memory)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forgets everything."""
        self._passed.close()

    def passing(self, batch: list[tuple[bytes, Item]]) -> list[tuple[bytes, Item]]:
        """The batch, keyed, without what has passed before; the same id with other images becomes a problem, once.

        Raises:
            OutputError: there is no room for the database, or its disk fails.
        """
        digests = [refs_digest(item.images) for _, item in batch]
        passed = self.passing_rows([key for key, _ in batch], digests, [item.place for _, item in batch])
        return [
            batch[at] if first is None else (batch[at][0], other_images(batch[at][1], first)) for at, first in passed
        ]

    def passing_rows(
        self, keys: Sequence[bytes], digests: Sequence[bytes], places: Sequence[str], ids: Sequence[str] | None = None
    ) -> list[tuple[int, str | None]]:
        """The same for rows that are no items yet.

        Args:
            keys: of their ids.
            digests: of their images.
            places: where they stand.
            ids: themselves: as long as they ascend, none can stand twice, and nothing is looked up.

        Returns:
            by number those that have not passed before, each with `None`, or with the place of the row whose id it
            shares and whose images are others.

        Raises:
            OutputError: there is no room for the database, or its disk fails.
        """
        try:
            again = dict(self._passed.add_all(keys, digests, places, ids))
        except OSError as error:
            raise OutputError(f"the list of ids that have passed cannot be kept: {error.strerror}") from error
        self._count(places, [at for at, first in again.items() if first is True])
        firsts = ((at, again.get(at)) for at in range(len(keys)))
        return [(at, None if first is None else str(first)) for at, first in firsts if first is not True]

    def _count(self, places: Sequence[str], twice: list[int]) -> None:
        self.duplicates += len(twice)
        self.places += [places[at] for at in twice[: max(0, _NAMED_PLACES - len(self.places))]]


def other_images(item: Item, first: str) -> Item:
    """The item of a row whose id stands for other images already, at the place `first`."""
    text = f'{item.place}: id "{item.item_id[:100]}" stands for other images already, at {first}'
    problem = RowError(ErrorType.DUPLICATE_ID, text)
    return Item(item.item_id, item.images, item.columns, item.extras, item.place, problem)
