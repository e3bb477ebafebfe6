"""Ids that stand twice in one manifest: found without memory that grows with the manifest.

The first million rows are held in memory, about 200 bytes each, since a list on disk costs several times the time. What
comes then goes, with them, to a SQLite database in the output's own state folder, unlinked as soon as it is open: it
has no name that anybody could guess or follow, and goes with the process.
"""

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import ErrorType, OutputError, RowError
from pipeline.manifest.identity import refs_digest
from pipeline.manifest.scratch import scratch_database
from pipeline.records import Item

__all__ = ["SeenItems", "other_images"]

_TABLE = "CREATE TABLE seen (item BLOB PRIMARY KEY, images BLOB, place BLOB, number INT) WITHOUT ROWID"

IN_MEMORY = 1_000_000
_NAMED_PLACES = 5
# OR IGNORE: without a rollback journal, a statement that fails on its constraint may leave damage behind.
_ADD = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)"
_Row = tuple[bytes, bytes, bytes, int]


class _Recent:
    """Rows in memory: `numbers` counts them from 0 by key, `digests` and `places` go by these numbers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.numbers: dict[bytes, int] = {}
        self._digests = bytearray()
        self._places = bytearray()
        self._ends = array("Q")

    def has_room(self, rows: int) -> bool:
        """Whether so many rows more may be held."""
        return len(self.numbers) + rows <= self._most

    def add(self, key: bytes, digest: bytes, place: str) -> bool | str:
        """Whether the row is new; where its id stands for other images, the place of the row that has it."""
        number = len(self.numbers)
        found = self.numbers.setdefault(key, number)
        if found != number:
            if self._digests[16 * found : 16 * found + 16] == digest or key + digest in self.numbers:
                return False
            self.numbers[key + digest] = number
        self._digests += digest
        self._places += place.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._places))
        return True if found == number else self._place(found).decode("utf-8", "replace")

    def rows(self) -> Iterator[_Row]:
        """All of them, by key."""
        for key in sorted(self.numbers):
            number = self.numbers[key]
            yield key, bytes(self._digests[16 * number : 16 * number + 16]), self._place(number), number

    def _place(self, number: int) -> bytes:
        return bytes(self._places[self._ends[number - 1] if number else 0 : self._ends[number]])


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
        self._recent = _Recent(in_memory)
        self._total = 0
        self._db = scratch_database(folder, _TABLE)
        self._db.execute("PRAGMA cache_size=-65536")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forgets everything."""
        self._db.close()

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
        self, keys: Sequence[bytes], digests: Sequence[bytes], places: Sequence[str]
    ) -> list[tuple[int, str | None]]:
        """The same for rows that are no items yet.

        Args:
            keys: of their ids.
            digests: of their images.
            places: where they stand.

        Returns:
            by number those that have not passed before, each with `None`, or with the place of the row whose id it
            shares and whose images are others.

        Raises:
            OutputError: there is no room for the database, or its disk fails.
        """
        if self._recent.has_room(len(keys)):
            found = [(at, self._recent.add(*row)) for at, row in enumerate(zip(keys, digests, places, strict=True))]
            self._count(places, [at for at, first in found if first is False])
            return [(at, None if first is True else str(first)) for at, first in found if first is not False]
        try:
            self._spill()
            return self._pass_on_disk(
                [
                    (key, digest, place.encode("utf-8", "surrogatepass"), number)
                    for number, (key, digest, place) in enumerate(zip(keys, digests, places, strict=True), self._total)
                ]
            )
        except sqlite3.OperationalError as error:
            raise OutputError(f"the list of ids that have passed cannot be kept: {error}") from error

    def _count(self, places: Sequence[str], twice: list[int]) -> None:
        self.duplicates += len(twice)
        self.places += [places[at] for at in twice[: max(0, _NAMED_PLACES - len(self.places))]]

    def _spill(self) -> None:
        """Memory is full: all that has passed goes to disk, in order, which is quick."""
        if self._total == 0:
            self._total = len(self._recent.numbers)
            self._db.executemany(_ADD, self._recent.rows())
            self._recent = _Recent(0)

    def _pass_on_disk(self, rows: list[_Row]) -> list[tuple[int, str | None]]:
        self._total += len(rows)
        before = self._db.total_changes
        self._db.executemany(_ADD, rows)
        if self._db.total_changes - before == len(rows):
            return [(at, None) for at in range(len(rows))]
        return [(at, first) for at, row in enumerate(rows) for first in self._looked_at(row)]

    def _looked_at(self, row: _Row) -> list[str | None]:
        """Whether a row that was added is there as itself: one element, or none for a row that stands twice."""
        key, digest, place, number = row
        found = self._db.execute("SELECT images, place, number FROM seen WHERE item=?", (key,)).fetchone()
        images, first, first_number = found
        if first_number == number:
            return [None]
        if images != digest and self._db.execute(_ADD, (key + digest, digest, place, number)).rowcount == 1:
            return [first.decode("utf-8", "replace")]
        self._count([place.decode("utf-8", "replace")], [0])
        return []


def other_images(item: Item, first: str) -> Item:
    """The item of a row whose id stands for other images already, at the place `first`."""
    text = f'{item.place}: id "{item.item_id[:100]}" stands for other images already, at {first}'
    problem = RowError(ErrorType.DUPLICATE_ID, text)
    return Item(item.item_id, item.images, item.columns, item.extras, item.place, problem)
