"""Batches in flight brought from the journal of one layout of shards into that of another (see `folding`).

A batch whose items belong to several shards stands in the journal of each of them, with that shard's items: each reads
the results by itself, and takes in its own. Brought together again, it is one batch.
"""

from collections.abc import Callable
from dataclasses import replace

from pipeline.store.batch_records import BatchRecord
from pipeline.store.batches import batches_of, begin_batch, has_leftovers, pack, standing_of, tidy
from pipeline.store.journal import Journal

__all__ = ["take_batches_along"]


def take_batches_along(journal: Journal, other: Journal, holds: Callable[[str], bool]) -> None:
    """Moves what another journal has of items of one's own: copied first, so that a crash leaves both.

    Args:
        journal: into which.
        other: from which; what it was building is undone.
        holds: whether an item of this id is one's own.
    """
    if has_leftovers(other):
        with other.transaction():
            tidy(other)
    records = {record.number: record for record in batches_of(other)}
    there = other.database.connection
    known = there.execute("SELECT 1 FROM sqlite_master WHERE name='batch_items'").fetchone()
    rows = there.execute("SELECT item, fingerprint, item_id FROM batch_items").fetchall() if known else []
    ours = [(key, mark) for key, mark, item_id in rows if holds(item_id)]
    if not ours:
        return
    with journal.transaction():
        for key, mark in ours:
            item = standing_of(other, key, mark)
            if item is not None:
                pack(journal, replace(item, batch=_moved(journal, records[item.batch]) if item.batch else None))
    with other.transaction():
        there.executemany("DELETE FROM batch_items WHERE item=? AND fingerprint=?", ours)
        there.execute("DELETE FROM batches WHERE NOT EXISTS (SELECT 1 FROM batch_items WHERE batch=number)")


def _moved(journal: Journal, record: BatchRecord) -> int:
    """The number here of a batch that another journal knows."""
    for here in batches_of(journal):
        if (here.target.place, here.intended_at, here.size) == (record.target.place, record.intended_at, record.size):
            number = here.number
            break
    else:
        number = begin_batch(journal, record.target)
    at = record.intended_at.isoformat() if record.intended_at else None
    journal.database.connection.execute(
        "UPDATE batches SET batch_id=ifnull(?, batch_id), intended_at=?, size=?, released=max(released, ?) "
        "WHERE number=?",
        (record.batch_id, at, record.size, record.released, number),
    )
    return number
