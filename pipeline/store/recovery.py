"""What a start finds, and puts right before anything is sent.

The rule when journal and parts disagree: **a whole part is the truth for the rows in it, the journal for the rest.**

| found | done |
| --- | --- |
| a stray temporary file | removed |
| a reserved part that stands whole in its place | marked as published, its rows leave the journal |
| a reserved part that does not | written again, same name, same rows |
| requests whose end is not known | rows of `requests` with null tokens: possible spend |
| rows without a part | published |
| a run without its file in `runs/` | its file, with `exit_code` null |
| a part that the journal does not know, or no journal | its items are settled by it |
| such a part, while its rows wait in the journal (an older copy of it) | the same, and the rows leave the journal |
| a part whose answers all stand in other parts | named and set aside: a copy |
| a part that the journal knows and that is gone | named; its items are open again |
| a part that cannot be read | named and set aside under `_state/damaged/`, its items are open again |
| an index that does not agree with the parts | named; made anew from parts and pending rows |
| a damaged journal | named and set aside; a new one is made from the parts |
| a journal of a newer version | refused |

A part that the journal knows is taken to be as it was written while its size is; readers check its pages. A journal
made anew has no `answers`: identical requests of items that are not settled are asked again.
"""

import json
import logging
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.store.database import is_damage
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal, PendingRow
from pipeline.store.keys import duplicate_key
from pipeline.store.parts import folder, is_whole, made_folder, sweep, write_whole
from pipeline.store.publishing import publish_part
from pipeline.store.reconcile import reconcile_parts, set_aside, state_folder
from pipeline.store.schema import Kind

__all__ = ["Recovered", "duplicate_key", "open_journal", "recover", "state_folder"]

logger = logging.getLogger(__name__)


def open_journal(output: Path) -> Journal:
    """The journal, checked; a damaged one is set aside and a new one is made.

    Raises:
        OutputError: it was written by a newer version, or cannot be opened.
        OSError: the folder cannot be written.
    """
    path = state_folder(output) / "journal.sqlite"
    try:
        return _checked(path)
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
    output = settings.output
    for stray in sweep(output):
        logger.warning("%s: removed, left by a run that was killed", stray)
    rewritten = _finish_reserved(journal, settings)
    lost = _land_flights(journal)
    adopted = reconcile_parts(journal, output)
    rewritten += _publish_pending(journal, settings)
    _finish_runs(journal, output)
    journal.database.is_trusted = True
    return Recovered(rewritten, lost, adopted)


def _finish_reserved(journal: Journal, settings: DatasetSettings) -> int:
    rewritten = 0
    for reservation in journal.pending.reserved():
        path = folder(settings.output, reservation.kind) / reservation.name
        if is_whole(path):
            size = path.stat().st_size
        else:
            size = publish_part(settings, reservation, journal.pending.rows_of(reservation.name))
            rewritten += 1
        with journal.transaction():
            journal.pending.published(reservation.name, size)
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
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ-%f}"
    for kind in Kind:
        while journal.pending.waits(kind):
            with journal.transaction():
                name = f"part-{stamp}-recovered-{written:05d}.parquet"
                reservation = journal.pending.reserve(kind, name, settings.rows_per_file)
            if reservation is None:
                break
            size = publish_part(settings, reservation, journal.pending.rows_of(name))
            with journal.transaction():
                journal.pending.published(name, size)
            written += 1
    return written


def _finish_runs(journal: Journal, output: Path) -> None:
    for run_id, body in journal.unfinished_runs():
        path = made_folder(output / "runs") / f"{run_id}.json"
        if not path.exists():
            note = {**body, "run_id": run_id, "exit_code": None, "killed": True}
            write_whole(path, json.dumps(note, indent=2).encode())
        with journal.transaction():
            journal.forget_run(run_id)
