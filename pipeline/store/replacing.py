"""Answers that take the place of published ones: items captioned anew because their images changed.

`(item_id, fingerprint)` is unique over all parts at every moment, so the new row cannot stand in a part of its own
beside the old one, nor can the old one go first. The part that holds the old row is rewritten with the new one in its
stead, and moved over itself: one rename, before which every reader sees the old row, and after which the new one.

The row waits in the journal until then, marked as one that replaces. A crash before the rename leaves the old part; a
crash after it, and before the journal knows, leaves the new one: in both cases the next start looks for the item's row
in the parts, whichever it is, and replaces it, which done twice is done once. So there is no step to remember.

A part is rewritten at the end of a run and not with every flush, since changed items lie scattered over all parts.

Rejected: a second row that readers choose from by time (every reader would have to know); deleting marks beside the
parts (likewise); a new part first and the old row removed after (two rows for a moment, or for ever after a crash).
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.store.buckets import BucketPath, ConflictError, Place
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.lock import in_turn
from pipeline.store.parts import Stamp, folder, list_parts, opened_part
from pipeline.store.places import shards_folder
from pipeline.store.rewriting import rewrite
from pipeline.store.rows import reserved_schema, to_table
from pipeline.store.schema import Kind

__all__ = ["Replacement", "finish_replacements", "planned", "replace_rows"]

logger = logging.getLogger(__name__)
_KEY = ["item_id", "fingerprint"]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Replacement:
    """One part to rewrite.

    Attributes:
        part: its name; `None` for rows whose items stand in no part, which go the usual way.
        numbers: the journal's rows that take the place of others there.
    """

    part: str | None
    numbers: tuple[int, ...]


def planned(settings: DatasetSettings, journal: Path) -> list[Replacement]:
    """Where the rows that replace belong; reads the ids of all results once.

    Raises:
        sqlite3.Error: the journal cannot be read.
    """
    reader = Journal(journal, read_only=True)
    try:
        waiting = {(item_id, mark): number for number, item_id, mark in reader.pending.replacements()}
    finally:
        reader.close()
    found = []
    for part in list_parts(settings.output, Kind.RESULTS):
        if not waiting:
            break
        if settings.shard is not None and not settings.shard.may_be_in(part.name):
            continue
        hits = [waiting.pop(key) for key in _keys(part) if key in waiting]
        if hits:
            found.append(Replacement(part.name, tuple(hits)))
    return [*found, Replacement(None, tuple(waiting.values()))] if waiting else found


def replace_rows(settings: DatasetSettings, replacement: Replacement, journal: Path) -> Stamp:
    """Rewrites one part with the new rows in the old ones' stead.

    Raises:
        OSError: it cannot be written, or is damaged; nothing has changed then.
        sqlite3.Error: the journal cannot be read.
    """
    path = folder(settings.output, Kind.RESULTS) / f"{replacement.part}"
    reader = Journal(journal, read_only=True)
    try:
        added, keys = [], set()
        for reservation, row in reader.pending.replacing_rows(replacement.numbers):
            added.append(to_table(reserved_schema(reservation), [row]))
            keys.add((row[0]["item_id"], row[0]["fingerprint"]))
    finally:
        reader.close()

    def stays(batch: pa.RecordBatch) -> list[bool]:
        return [key not in keys for key in zip(*(batch[name].to_pylist() for name in _KEY), strict=True)]

    try:
        with _alone(settings):
            while True:
                here = path.pinned() if isinstance(path, BucketPath) else path
                with suppress(ConflictError):  # another machine was quicker: its rows are to stay too
                    return rewrite(here, Kind.RESULTS, [here], settings.compression, stays=stays, added=added)
    except pa.ArrowException as error:
        raise OSError(f"{path}: cannot be rewritten: {error}") from error


def finish_replacements(journal: Journal, settings: DatasetSettings, path: Path) -> int:
    """Replaces whatever waits for it, at a start; returns how many parts were rewritten.

    Raises:
        OSError: a part cannot be written; the next start does it.
        sqlite3.Error: likewise.
    """
    rewritten = 0
    if not journal.pending.replacements():
        return rewritten
    for replacement in planned(settings, path):
        if replacement.part is None:
            with journal.transaction():
                journal.pending.nothing_to_replace(replacement.numbers)
            continue
        stamp = replace_rows(settings, replacement, path)
        with journal.transaction():
            journal.pending.replaced(replacement.numbers, replacement.part, stamp)
        rewritten += 1
    return rewritten


def _alone(settings: DatasetSettings) -> AbstractContextManager[None]:
    """Two shards may have to rewrite the same part, of a run without shards: one after the other."""
    return nullcontext() if settings.shard is None else in_turn(shards_folder(settings.output) / "rewriting")


def _keys(part: Place) -> Iterator[_Key]:
    try:
        with opened_part(part) as file:
            for batch in file.iter_batches(columns=_KEY):
                yield from zip(*(batch[name].to_pylist() for name in _KEY), strict=True)
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        logger.warning("%s: left out, it cannot be read: %s", part, error)
