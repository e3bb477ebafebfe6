"""Batches in flight, remembered in the journal: which were made of which items, and what is still to come of them.

The order of writes, and what a crash leaves behind
---------------------------------------------------
1. *pack*: an item's row, under a batch that is being built. Crash after: nothing was sent; the next start undoes it.
2. *intend*: the batch is whole on disk and about to be created. Crash after: the service may have it. It is looked
   for by listing, and known by its items' `custom_id`s, which tell item, fingerprint, turn, attempt and batch.
3. *created*: the service's id. From here on the batch is only read.
4. *collect*, for each line of the results: the row of `requests`, the answer, and the item's row set free (it belongs
   to no batch any more), in one transaction. Crash before: the line is read again. Crash after: its turn is paid. Where
   the item fails by it, its failure is in the same transaction.
5. the item is settled, and its row is done in the same transaction (see `ledger`), or it goes into another batch with
   its next turn or attempt.

A row of `batch_items` is all that settling needs, so what comes back a day later is written down without the manifest
and without the image: the skeleton (see `engines/batches/skeletons`), the manifest's other columns and the thumbnail.
A settled item's row stays until the run ends, so that a run that still reads the manifest does not count it twice.

The tables are made by the first batch, so that the journal of a run without any has none.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.store.batch_records import BatchItem, BatchRecord, Packed, Target
from pipeline.store.journal import Journal

__all__ = [
    "BatchItem",
    "BatchRecord",
    "Packed",
    "batches_of",
    "begin_batch",
    "count_items",
    "created",
    "end_batch",
    "has_answers",
    "has_leftovers",
    "held_keys",
    "intend",
    "item_of",
    "items_of",
    "mark_done",
    "pack",
    "record_of",
    "release",
    "set_free",
    "standing_of",
    "tidy",
    "twins_of",
    "undo",
]

_CHUNK = 1000
_TABLES = (
    """
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, fingerprint TEXT NOT NULL, model TEXT NOT NULL,
    batch_id TEXT UNIQUE,    intended_at TEXT, size INTEGER NOT NULL DEFAULT 0, released INTEGER NOT NULL DEFAULT 0)
""",
    """
CREATE TABLE IF NOT EXISTS batch_items (
    item BLOB NOT NULL, fingerprint TEXT NOT NULL, batch INTEGER, done INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0, item_id TEXT NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    custom_id TEXT NOT NULL, worst_usd REAL NOT NULL, reuse BLOB, skeleton TEXT NOT NULL, extras_schema BLOB,
    extras BLOB, thumbnail BLOB, PRIMARY KEY (item, fingerprint))
""",
    "CREATE INDEX IF NOT EXISTS batch_items_batch ON batch_items (batch, custom_id)",
    "CREATE INDEX IF NOT EXISTS batch_items_reuse ON batch_items (reuse) WHERE reuse IS NOT NULL",
)
_LEFT = (
    "FROM batch_items WHERE done=1",
    """FROM batch_items WHERE batch IS NULL AND EXISTS (
        SELECT 1 FROM settled JOIN fingerprints ON id=settled.fingerprint
        WHERE settled.item=batch_items.item AND fingerprints.fingerprint=batch_items.fingerprint AND state=0)""",
    "FROM batches WHERE intended_at IS NULL",
)
"""What a run that was killed may have left: settled items, twice over, and batches that were being built."""
_COLUMNS = (
    "item, fingerprint, batch, done, alone, item_id, turn, attempt, custom_id, worst_usd, reuse, skeleton, "
    "extras_schema, extras, thumbnail"
)


# What runs write; each inside a transaction of the caller's.


def begin_batch(journal: Journal, target: Target) -> int:
    """A batch that is being built; its number."""
    for statement in _TABLES:
        _db(journal).execute(statement)
    values = (target.place, target.fingerprint, target.model)
    cursor = _db(journal).execute("INSERT INTO batches (place, fingerprint, model) VALUES (?, ?, ?)", values)
    return int(cursor.lastrowid or 0)


def pack(journal: Journal, item: BatchItem) -> None:
    """The item is in the batch that is being built."""
    packed = item.packed
    values = (
        *(item.key, item.fingerprint, item.batch, item.done, item.alone, item.item_id, item.turn, item.attempt),
        *(item.custom_id, item.worst_usd, item.reuse),
        *(packed.skeleton, packed.extras_schema, packed.extras, packed.thumbnail),
    )
    for statement in _TABLES:  # also of an item that waits before there was any batch
        _db(journal).execute(statement)
    marks = ", ".join("?" * len(values))
    _db(journal).execute(f"INSERT OR REPLACE INTO batch_items ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608 - names of our own


def intend(journal: Journal, number: int, at: datetime) -> None:
    """The batch is about to be created, with the items that it has."""
    (size,) = _db(journal).execute("SELECT count(*) FROM batch_items WHERE batch=?", (number,)).fetchone()
    _db(journal).execute("UPDATE batches SET intended_at=?, size=? WHERE number=?", (at.isoformat(), size, number))


def created(journal: Journal, number: int, batch_id: str) -> None:
    """It was created."""
    _db(journal).execute("UPDATE batches SET batch_id=? WHERE number=?", (batch_id, number))


def undo(journal: Journal, number: int, *, alone: bool = False) -> None:
    """It was never created: its items wait for the next one, or to be asked alone, as if this attempt had not been."""
    query = "UPDATE batch_items SET batch=NULL, attempt=attempt-1, alone=max(alone, ?) WHERE batch=?"
    _db(journal).execute(query, (alone, number))
    _db(journal).execute("DELETE FROM batches WHERE number=?", (number,))


def release(journal: Journal, number: int) -> None:
    """It is canceled so that its items are asked through `messages`."""
    _db(journal).execute("UPDATE batches SET released=1 WHERE number=?", (number,))


def set_free(journal: Journal, item: BatchItem, *, alone: bool) -> None:
    """Its result was read, and the item belongs to no batch any more; `alone`: it is asked through `messages` next."""
    query = "UPDATE batch_items SET batch=NULL, alone=? WHERE item=? AND fingerprint=?"
    _db(journal).execute(query, (alone, item.key, item.fingerprint))


def mark_done(journal: Journal, key: bytes, fingerprint: str) -> None:
    """The item was settled, whoever asked it."""
    if _has_tables(journal):
        query = "UPDATE batch_items SET done=1, batch=NULL WHERE item=? AND fingerprint=?"
        _db(journal).execute(query, (key, fingerprint))


def end_batch(journal: Journal, number: int) -> None:
    """Every item of it has its result."""
    _db(journal).execute("DELETE FROM batches WHERE number=?", (number,))


def has_leftovers(journal: Journal) -> bool:
    """Whether `tidy` has anything to do."""
    if not _has_tables(journal):
        return False
    return any(_db(journal).execute(f"SELECT EXISTS (SELECT 1 {which})").fetchone()[0] for which in _LEFT)


def tidy(journal: Journal) -> None:
    """Lets go of the rows of settled items, and of what an earlier run had built and not created."""
    for (number,) in _db(journal).execute("SELECT number FROM batches WHERE intended_at IS NULL").fetchall():
        undo(journal, number)
    for which in _LEFT[:2]:
        _db(journal).execute(f"DELETE {which}")


# What runs ask.


def batches_of(journal: Journal) -> list[BatchRecord]:
    """Every batch that is being built or in flight, oldest first."""
    if not _has_tables(journal):
        return []
    query = (
        "SELECT number, place, batches.fingerprint, model, batch_id, intended_at, size, released, count(item), "
        "coalesce(sum(worst_usd), 0) FROM batches LEFT JOIN batch_items ON batch=number GROUP BY number ORDER BY number"
    )
    return [
        BatchRecord(number, Target(place, mark, model), batch_id, _moment(at), size, items, worst, bool(released))
        for number, place, mark, model, batch_id, at, size, released, items, worst in _db(journal).execute(query)
    ]


def record_of(journal: Journal, number: int) -> BatchRecord | None:
    """One of them as it is now."""
    return next((record for record in batches_of(journal) if record.number == number), None)


def item_of(journal: Journal, number: int, custom_id: str) -> BatchItem | None:
    """The item of a batch that has no result yet."""
    query = f"SELECT {_COLUMNS} FROM batch_items WHERE batch=? AND custom_id=?"  # noqa: S608 - names of our own
    row = _db(journal).execute(query, (number, custom_id)).fetchone()
    return _item(row) if row else None


def items_of(journal: Journal, number: int, most: int) -> list[BatchItem]:
    """At most so many items of a batch that have no result yet."""
    query = f"SELECT {_COLUMNS} FROM batch_items WHERE batch=? LIMIT ?"  # noqa: S608 - names of our own
    return [_item(row) for row in _db(journal).execute(query, (number, most))]


def standing_of(journal: Journal, key: bytes, fingerprint: str) -> BatchItem | None:
    """What is known of an item beside `settled`."""
    if not _has_tables(journal):
        return None
    query = f"SELECT {_COLUMNS} FROM batch_items WHERE item=? AND fingerprint=?"  # noqa: S608 - names of our own
    row = _db(journal).execute(query, (key, fingerprint)).fetchone()
    return _item(row) if row else None


def twins_of(journal: Journal, key: bytes, reuse: bytes) -> list[bool]:
    """Of other items with an identical request that were asked and are not settled, whether each is in a batch."""
    if not _has_tables(journal):
        return []
    query = "SELECT batch IS NOT NULL FROM batch_items WHERE reuse=? AND item!=? AND done=0 AND attempt>0"
    return [bool(is_in) for (is_in,) in _db(journal).execute(query, (reuse, key))]


def count_items(journal: Journal, fingerprint: str, place: str | None = None) -> tuple[int, int]:
    """How many items of a fingerprint are in batches, of one place or of any, and how many wait for the next one."""
    if not _has_tables(journal):
        return 0, 0
    query = (
        "SELECT count(*) FROM batch_items JOIN batches ON number=batch "
        "WHERE batch_items.fingerprint=? AND place=ifnull(?, place)"
    )
    (in_flight,) = _db(journal).execute(query, (fingerprint, place)).fetchone()
    query = "SELECT count(*) FROM batch_items WHERE fingerprint=? AND batch IS NULL AND done=0"
    (waiting,) = _db(journal).execute(query, (fingerprint,)).fetchone()
    return in_flight, waiting


def held_keys(journal: Journal, keys: Sequence[bytes], fingerprint: str) -> dict[bytes, bool]:
    """Of these items, those in a batch, settled in this run, or (true) waiting for the next batch."""
    found: dict[bytes, bool] = {}
    if not _has_tables(journal):
        return found
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        query = f"SELECT item, batch IS NULL AND done=0 FROM batch_items WHERE item IN ({marks}) AND fingerprint=?"  # noqa: S608 - question marks alone
        found.update((key, bool(waits)) for key, waits in _db(journal).execute(query, (*chunk, fingerprint)))
    return found


def has_answers(journal: Journal, fingerprint: str) -> bool:
    """Whether any item was answered under this fingerprint."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM settled WHERE state=0 AND fingerprint="
        "(SELECT id FROM fingerprints WHERE fingerprint=?))"
    )
    return bool(_db(journal).execute(query, (fingerprint,)).fetchone()[0])


def _item(row: tuple[Any, ...]) -> BatchItem:
    key, mark, batch, done, alone, item_id, turn, attempt, custom_id, worst, reuse, *kept = row
    packed = Packed(*kept)
    return BatchItem(
        key, mark, batch, item_id, turn, attempt, custom_id, worst, reuse, packed, done=bool(done), alone=bool(alone)
    )


def _has_tables(journal: Journal) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('batches', 'batch_items')"
    return int(_db(journal).execute(query).fetchone()[0]) == 2


def _db(journal: Journal) -> sqlite3.Connection:
    return journal.database.connection


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
