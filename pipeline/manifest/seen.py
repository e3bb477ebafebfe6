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

from pipeline.errors import ErrorType, OutputError, RowError
from pipeline.manifest.identity import refs_digest
from pipeline.records import Item

__all__ = ["SeenItems"]

_NAMED_PLACES = 5


class SeenItems:
    """The items of one manifest that have passed; a context manager.

    Attributes:
        duplicates: rows dropped, since the same id with the same images has passed.
        places: where the first of them stand.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.duplicates = 0
        self.places: list[str] = []
        try:
            handle, name = tempfile.mkstemp(dir=folder, prefix=".seen-")
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
        os.close(handle)
        try:
            self._db = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;")
            self._db.execute("CREATE TABLE seen (item BLOB PRIMARY KEY, images BLOB, place BLOB) WITHOUT ROWID")
        finally:
            Path(name).unlink()
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
        kept = []
        try:
            for key, item in batch:
                digest = refs_digest(item.images)
                if self._is_new(key, digest, item.place):
                    kept.append((key, item))
                    continue
                images, place = self._db.execute("SELECT images, place FROM seen WHERE item=?", (key,)).fetchone()
                if images != digest and self._is_new(key + digest, digest, item.place):
                    kept.append((key, _other_images(item, place.decode("utf-8", "replace"))))
                    continue
                self.duplicates += 1
                if len(self.places) < _NAMED_PLACES:
                    self.places.append(item.place)
        except sqlite3.OperationalError as error:
            raise OutputError(f"the list of ids that have passed cannot be kept: {error}") from error
        return kept

    def _is_new(self, key: bytes, digest: bytes, place: str) -> bool:
        # OR IGNORE: without a rollback journal, a statement that fails on its constraint may leave damage behind.
        row = (key, digest, place.encode("utf-8", "surrogatepass"))
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", row).rowcount == 1


def _other_images(item: Item, first: str) -> Item:
    text = f'{item.place}: id "{item.item_id[:100]}" stands for other images already, at {first}'
    problem = RowError(ErrorType.DUPLICATE_ID, text)
    return Item(item.item_id, item.images, item.columns, item.extras, item.place, problem)
