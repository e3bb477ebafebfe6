"""Ids that stand twice in one manifest: found on disk, so that memory does not grow with the manifest.

A SQLite database in the output's own state folder, unlinked as soon as it is open: it has no name that anybody could
guess or follow, and goes with the process.
"""

import os
import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import ErrorType, RowError
from pipeline.manifest.identity import refs_digest
from pipeline.records import Item

__all__ = ["SeenItems"]

_NAMED_PLACES = 5


class SeenItems:
    """The items of one manifest that have passed; a context manager.

    Attributes:
        duplicates: rows dropped, since the same id with the same images has passed.
        places: where the first of them stand.
    """

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".seen-")
        os.close(handle)
        self._db = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;")
        self._db.execute("CREATE TABLE seen (item BLOB PRIMARY KEY, images BLOB, place TEXT) WITHOUT ROWID")
        Path(name).unlink()
        self._db.execute("BEGIN")
        self.duplicates = 0
        self.places: list[str] = []

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forgets everything."""
        self._db.close()

    def passing(self, batch: list[tuple[bytes, Item]]) -> list[tuple[bytes, Item]]:
        """The batch, keyed, without what has passed before; the same id with other images becomes a problem."""
        kept = []
        for key, item in batch:
            digest = refs_digest(item.images)
            try:
                self._db.execute("INSERT INTO seen VALUES (?, ?, ?)", (key, digest, item.place))
            except sqlite3.IntegrityError:
                images, place = self._db.execute("SELECT images, place FROM seen WHERE item=?", (key,)).fetchone()
                if images == digest:
                    self.duplicates += 1
                    if len(self.places) < _NAMED_PLACES:
                        self.places.append(item.place)
                    continue
                kept.append((key, _other_images(item, place)))
            else:
                kept.append((key, item))
        return kept


def _other_images(item: Item, first: str) -> Item:
    text = f'{item.place}: id "{item.item_id[:100]}" stands for other images already, at {first}'
    problem = RowError(ErrorType.DUPLICATE_ID, text)
    return Item(item.item_id, item.images, item.columns, item.extras, item.place, problem)
