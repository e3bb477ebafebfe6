"""What a start finds, and puts right before anything is sent.

The rule when journal and parts disagree: **a whole part is the truth for the rows in it, the journal for the rest.**

| found | done |
| --- | --- |
| a stray temporary file | removed |
| a compaction that was broken off | done to its end, or undone (see `compact`) |
| a reserved part that stands whole in its place | marked as published, its rows leave the journal |
| a reserved part that does not | written again, same name, same rows |
| requests whose end is not known | rows of `requests` with null tokens: possible spend |
| rows without a part | published |
| rows that take the place of published ones | put there (see `replacing`) |
| a run without its file in `runs/` | its file, with `exit_code` null |
| a part that the journal does not know, or no journal | its items are settled by it |
| such a part, while its rows wait in the journal (an older copy of it) | the same, and the rows leave the journal |
| a part whose answers all stand in other parts | named and set aside: a copy |
| a part of which some do | the same, and rewritten without them |
| a part that the journal knows and that is gone | named; its items are open again |
| a part that cannot be read | named and set aside under `_state/damaged/`, its items are open again |
| an index that does not agree with the parts | named; made anew from parts and pending rows |
| a damaged journal, or an empty one | named and set aside; a new one is made from the parts |
| a write-ahead log with commits that cannot be read | named, and a copy kept |
| parts, and no journal | named; it is made from the parts |
| a journal of a newer version | refused |

A shard's start goes by the same table for the rows and parts of its own items, and changes no part but its own: a
damaged one is named and left to the next start that has the output alone. What other layouts of shards left is brought
in before (see `folding`).

A part that the journal knows is taken to be as it was written while its size and the time of its last change are;
where they are not, every page of it is read. Readers check the pages that they read. A journal
made anew has no `answers`: identical requests of items that are not settled are asked again.
"""

import json
import logging
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.store.buckets import BucketPath, Place
from pipeline.store.database import is_damage
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal, PendingRow
from pipeline.store.keys import duplicate_key
from pipeline.store.merging import finish_merges
from pipeline.store.parts import Stamp, folder, is_whole, list_parts, made_folder, stamp_of, sweep, write_whole
from pipeline.store.places import JOURNAL, shards_folder, state_folder
from pipeline.store.publishing import publish_part
from pipeline.store.reconcile import drop_published, reconcile_parts, set_aside
from pipeline.store.replacing import finish_replacements
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

__all__ = ["Recovered", "drain", "duplicate_key", "open_journal", "recover", "state_folder"]

logger = logging.getLogger(__name__)


def open_journal(output: Place, shard: Shard | None = None) -> Journal:
    """The journal of an output, or of one of its shards, checked; a damaged one is set aside and a new one is made.

    Raises:
        OutputError: it was written by a newer version, or cannot be opened.
        OSError: the folder cannot be written.
    """
    path = state_folder(output, shard) / JOURNAL
    # Parts of other shards and machines are nothing odd.
    is_shared = shard is not None or shards_folder(output).is_dir() or isinstance(output, BucketPath)
    has_parts = not is_shared and any(list_parts(output, kind) for kind in Kind)
    log = path.with_name(path.name + "-wal")
    is_torn = log.exists() and log.stat().st_size > 0
    if (has_parts or is_torn) and not (path.exists() and path.stat().st_size):
        logger.error(
            "%s: the journal is gone: made anew from the parts; answers that were in it alone are lost to the "
            "dataset and may be asked again",
            path,
        )
    if not (path.exists() and path.stat().st_size):
        path.unlink(missing_ok=True)  # empty: what stands beside it goes with it
    try:
        journal = _checked(path)
        if journal.database.is_log_damaged:
            _warn_of_log(output, path)
        return journal
    except sqlite3.Error as error:
        if not is_damage(error):
            raise OutputError(f"{path}: cannot be opened: {error}") from error
        aside = set_aside(output, path)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        logger.error(  # noqa: TRY400 - people need the place, not a traceback
            "the journal was damaged (%s): set aside as %s and made anew from the parts; answers that were in it "
            "alone are lost to the dataset and may be asked again",
            error,
            aside,
        )
    return _checked(path)


def _warn_of_log(output: Place, path: Path) -> None:
    """Keeps and names a write-ahead log whose later commits cannot be read."""
    log = path.with_name(path.name + "-wal")
    aside = made_folder(state_folder(output) / "damaged", 0o700) / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{log.name}"
    shutil.copy(log, aside)
    logger.error(
        "%s: damaged in its middle; a copy was kept as %s; what was written last is lost to the dataset, and answers "
        "that were in it alone may be asked again",
        log,
        aside,
    )


def _checked(path: Path) -> Journal:
    journal = Journal(path)
    try:
        journal.check()
    except sqlite3.Error:
        journal.close()
        raise
    return journal


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start put right, counted.

    Attributes:
        parts_rewritten: parts that were written from rows in the journal.
        flights_lost: requests whose end is not known.
        parts_adopted: parts whose items the journal did not know.
    """

    parts_rewritten: int = 0
    flights_lost: int = 0
    parts_adopted: int = 0


def recover(journal: Journal, settings: DatasetSettings) -> Recovered:
    """Puts right what an earlier run left; see the table above. Writes nothing after a clean end.

    Raises:
        OSError: something cannot be written; the next start does it.
        sqlite3.Error: likewise.
    """
    for stray in sweep(settings.output, settings.shard):
        logger.warning("%s: removed, left by a run that was killed", stray)
    lost = _take_stock(journal, settings)
    adopted = reconcile_parts(journal, settings.output, settings.compression, settings.shard)
    rewritten = _bring_in(journal, settings)
    journal.database.is_trusted = True
    return Recovered(rewritten, lost, adopted)


def drain(journal: Journal, settings: DatasetSettings) -> None:
    """Does for a journal that no run has open what needs no look at its index: nothing waits in it afterwards.

    Raises:
        OSError: something cannot be written; the next start does it.
        sqlite3.Error: likewise.
    """
    _take_stock(journal, settings)
    if isinstance(settings.output, BucketPath):
        drop_published(journal, settings)
    _bring_in(journal, settings)


def _take_stock(journal: Journal, settings: DatasetSettings) -> int:
    """What stands in its place already, and what was in flight; returns how many requests were."""
    if settings.shard is None and isinstance(settings.output, Path):
        finish_merges(journal, settings.output)
    for reservation in journal.pending.reserved():
        path = folder(settings.output, reservation.kind) / reservation.name
        if path.is_file() if isinstance(path, BucketPath) else is_whole(path):
            with journal.transaction():
                journal.pending.published(reservation.name, stamp_of(path) or Stamp(0))
    return _land_flights(journal)


def _bring_in(journal: Journal, settings: DatasetSettings) -> int:
    """Rows become parts, runs get their files; returns how many parts were written."""
    rewritten = _finish_reserved(journal, settings) + _publish_pending(journal, settings)
    rewritten += finish_replacements(journal, settings, settings.state / JOURNAL)
    if journal.pending.waits(Kind.RESULTS):
        rewritten += _publish_pending(journal, settings)
    _finish_runs(journal, settings.output)
    return rewritten


def _finish_reserved(journal: Journal, settings: DatasetSettings) -> int:
    rewritten = 0
    for reservation in journal.pending.reserved():
        if not reservation.rows:  # they stand in other parts: the journal is older than these
            with journal.transaction():
                journal.pending.forget_part(reservation.kind, reservation.name)
            continue
        stamp = publish_part(settings, reservation, journal.pending.rows_of(reservation.name))
        with journal.transaction():
            journal.pending.published(reservation.name, stamp)
        rewritten += 1
    return rewritten


def _land_flights(journal: Journal) -> int:
    flights = journal.flights()
    if not flights:
        return 0
    with journal.transaction():
        for flight, body in flights:
            journal.add_row(PendingRow(Kind.REQUESTS, body))
            journal.end_flight(flight)
    logger.warning(
        "%d requests were in flight when the last run was killed; the service may have billed them", len(flights)
    )
    return len(flights)


def _publish_pending(journal: Journal, settings: DatasetSettings) -> int:
    written = 0
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ-%f}"
    for kind in Kind:
        while journal.pending.waits(kind):
            with journal.transaction():
                name = settings.part_name(f"{moment}-recovered", written)
                reservation = journal.pending.reserve(kind, name, settings.rows_per_file)
            if reservation is None:
                break
            stamp = publish_part(settings, reservation, journal.pending.rows_of(name))
            with journal.transaction():
                journal.pending.published(name, stamp)
            written += 1
    return written


def _finish_runs(journal: Journal, output: Place) -> None:
    for run_id, body in journal.unfinished_runs():
        path = output / "runs" / f"{run_id}.json"
        if isinstance(path, Path):
            made_folder(path.parent)
        if not path.exists():
            note = {**body, "run_id": run_id, "exit_code": None, "killed": True}
            write_whole(path, json.dumps(note, indent=2).encode())
        with journal.transaction():
            journal.forget_run(run_id)
