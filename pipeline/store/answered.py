"""Of which image bytes each item was answered: what `manifest.changed = "detect"` compares with.

Read from the parts at the start of a run that wants it, into a database that has no name (as `manifest/seen` has it),
so that memory does not grow with the dataset. The newest row of an item counts, over results and failures: a changed
image that was asked about and failed is not tried again until it changes once more.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import OutputError
from pipeline.manifest.scratch import scratch_database
from pipeline.store.buckets import Place
from pipeline.store.keys import item_key
from pipeline.store.schema import Kind
from pipeline.store.tables import read_batches

__all__ = ["AnsweredImages"]

_TABLE = "CREATE TABLE answered (item BLOB PRIMARY KEY, at INT, hashes TEXT) WITHOUT ROWID"


class AnsweredImages:
    """The hashes of the images that each item was answered about, under one fingerprint; a context manager.

    Args:
        output: the dataset, recovered: what is pending is not looked at.
        fingerprint: whose rows.
        folder: where the database is for a moment.

    Raises:
        OutputError: the folder cannot be written, or has no room.
    """

    def __init__(self, output: Place, fingerprint: str, folder: Path) -> None:
        self._db = scratch_database(folder, _TABLE)
        try:
            self._db.execute("BEGIN")
            for kind in (Kind.FAILURES, Kind.RESULTS):  # an answer wins over a failure of the same microsecond
                self._db.executemany(_ADD, _rows(output, kind, fingerprint))
        except sqlite3.OperationalError as error:
            self._db.close()
            raise OutputError(f"{output}: the list of answered images cannot be kept: {error}") from error

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forgets everything."""
        self._db.close()

    def hashes(self, key: bytes) -> list[str | None] | None:
        """The SHA-256 of each original image of the item's newest row; `None` where it has no row.

        An image that was not reached has `None`.
        """
        found = self._db.execute("SELECT hashes FROM answered WHERE item=?", (key,)).fetchone()
        return json.loads(found[0]) if found else None


_ADD = (
    "INSERT INTO answered VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at=excluded.at, hashes=excluded.hashes "
    "WHERE excluded.at >= answered.at"
)


def _rows(output: Place, kind: Kind, fingerprint: str) -> Iterator[tuple[bytes, int, str]]:
    for batch in read_batches(output, kind, ["item_id", "fingerprint", "created_at", "images"]):
        rows = batch.filter(pc.equal(batch["fingerprint"], fingerprint))
        times = rows["created_at"].cast(pa.int64()).to_pylist()
        for item_id, at, images in zip(rows["item_id"].to_pylist(), times, rows["images"].to_pylist(), strict=True):
            yield item_key(item_id), at, json.dumps([image["sha256"] for image in images or ()])
