"""What the journals of other shard layouts still hold, brought into the dataset before a run looks at it.

A killed run of shard 3/8 leaves answers in `_state/shards/3-of-8/`. The next run may be of shard 1/2, or of no shard:
whoever starts, and alone covers or shares the items, does for that journal what its own next start would have done
(see `recovery`): rows become parts, requests without an end become rows, the run gets its file. What has no part to go
to goes along into the starter's own journal: paid turns and batches of items that are its own, leave to pay again,
uploads. A journal that then holds nothing but its index goes; the next run of its layout makes the index anew from the
parts. That of the runs without shards stays, since its index is the whole dataset's.

Each step is done twice without harm, so a crash between two of them is mended by the next start. No run of these
journals is alive meanwhile: `dataset` holds the locks.
"""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.store.batch_moving import take_batches_along
from pipeline.store.buckets import Place
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.places import JOURNAL, shards_folder, state_path
from pipeline.store.recovery import drain, open_journal
from pipeline.store.shards import Shard

__all__ = ["fold_others", "other_layouts"]

logger = logging.getLogger(__name__)

_EMPTIED = ("fingerprints", "meta", "parts", "settled", "shapes", "answers", "uploads", "batches")
"""Tables that may have rows when a journal goes: index, list of parts, and what was copied."""
_ITEMS_WITH_TURNS = (
    "SELECT DISTINCT item, fingerprints.fingerprint FROM turns JOIN fingerprints ON id=turns.fingerprint"
)
_FORGET_TURNS = (
    "DELETE FROM turns WHERE item=? AND fingerprint=(SELECT id FROM fingerprints WHERE fingerprints.fingerprint=?)"
)


def other_layouts(output: Place, shard: Shard | None) -> Iterator[Shard]:
    """The shards of other N than a run's that have left state behind."""
    place = shards_folder(output)
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        other = Shard.of_folder(folder.name)
        if other is not None and folder.is_dir() and (shard is None or other.of != shard.of):
            yield other


def fold_others(journal: Journal, settings: DatasetSettings) -> None:
    """Brings in what journals of other layouts than the run's hold; the caller holds the locks.

    Raises:
        OutputError: one of them was written by a newer version.
        OSError: something cannot be written; the next start does it.
        sqlite3.Error: likewise.
    """
    others: list[Shard | None] = list(other_layouts(settings.output, settings.shard))
    if settings.shard is not None:
        others.append(None)
    for other in others:
        place = state_path(settings.output, other)
        if any((place / f"{JOURNAL}{suffix}").exists() for suffix in ("", "-wal")):
            _fold(journal, settings, replace(settings, shard=other))
        if other is not None and not (place / JOURNAL).exists():
            shutil.rmtree(place)


def _fold(journal: Journal, settings: DatasetSettings, theirs: DatasetSettings) -> None:
    path = state_path(theirs.output, theirs.shard) / JOURNAL
    if not _has_work(path, theirs.shard):
        return
    other = open_journal(theirs.output, theirs.shard)
    try:
        drain(other, theirs)
        _take_along(journal, other, settings.shard)
        take_batches_along(journal, other, lambda item_id: settings.shard is None or settings.shard.holds(item_id))
        left = _work_in(other)
    finally:
        other.close()
    if theirs.shard is None:
        return
    if left:
        text = "%s: still holds %s; kept, for the runs that cover its items"
        logger.info(text, path, " and ".join(left))
        return
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _has_work(path: Path, shard: Shard | None) -> bool:
    """Whether a journal must be opened for writing: every one of a shard must, and the whole dataset's where it waits.

    That of the whole dataset is large, and opened by every start of a shard: a look must do where it is drained.
    """
    if shard is not None:
        return True
    try:
        looker = Journal(path, read_only=True)
    except sqlite3.Error:
        return True
    try:
        return bool(_work_in(looker) or looker.merges())
    except sqlite3.Error:
        return True
    finally:
        looker.close()


def _take_along(journal: Journal, other: Journal, shard: Shard | None) -> None:
    """Copies what belongs to no part, then lets go of the turns: a crash between leaves both, and no turn is lost."""
    there = other.database.connection
    items = there.execute(_ITEMS_WITH_TURNS).fetchall()
    turns = [(item, mark, other.paid_turns(item, mark)) for item, mark in items]
    ours = [one for one in turns if shard is None or shard.holds(one[2][0].body["item_id"])]
    metas = there.execute("SELECT name, value FROM meta WHERE name LIKE 'leave %'").fetchall()
    uploads = _uploads(other)
    if not (ours or metas or uploads):
        return
    with journal.transaction():
        for item, mark, paid in ours:
            for turn in paid:
                journal.add_turn(item, mark, turn)
        here = journal.database.connection
        here.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", metas)
        if uploads is not None:
            here.execute(uploads[0])
            here.executemany("INSERT OR IGNORE INTO uploads VALUES (?, ?, ?, ?)", uploads[1])
    if ours:
        with other.transaction():
            there.executemany(_FORGET_TURNS, [(item, mark) for item, mark, _ in ours])


def _uploads(other: Journal) -> tuple[str, list[tuple[str, ...]]] | None:
    """How the table of uploads is made, and its rows; `None` where nothing was uploaded."""
    there = other.database.connection
    made = there.execute("SELECT sql FROM sqlite_master WHERE name='uploads'").fetchone()
    if made is None:
        return None
    text = made[0].replace("CREATE TABLE uploads", "CREATE TABLE IF NOT EXISTS uploads", 1)
    return text, there.execute("SELECT sha256, place, file_id, expires_at FROM uploads").fetchall()


def _work_in(journal: Journal) -> list[str]:
    """The tables of a journal that hold something which belongs to a run, and not to the index."""
    found = [name for name in _tables(journal) if name not in _EMPTIED and _has_rows(journal, name)]
    if "batch_items" in found:
        query = "SELECT EXISTS (SELECT 1 FROM batch_items WHERE done=0)"
        if not journal.database.connection.execute(query).fetchone()[0]:
            found.remove("batch_items")  # settled: kept only while their run reads its manifest
    return found


def _tables(journal: Journal) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%'"
    return [name for (name,) in journal.database.connection.execute(query)]


def _has_rows(journal: Journal, table: str) -> bool:
    query = f'SELECT EXISTS (SELECT 1 FROM "{table}")'  # noqa: S608 - a name from the journal's own schema
    return bool(journal.database.connection.execute(query).fetchone()[0])
