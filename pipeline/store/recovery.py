"""What a start finds, and puts right before anything is sent.

The rule when journal and parts disagree: **a whole part is the truth for the rows in it, the journal for the rest.**

| found | done |
| --- | --- |
| a stray temporary file | removed |
| a reserved part that stands whole in its place | marked as published, its rows leave the journal |
| a reserved part that does not | written again, same name, same rows |
| requests whose end is not known | rows of `requests` with null tokens: possible spend |
| a run without its file in `runs/` | its file, with `exit_code` null |
| a part that the journal does not know, or no journal | its items are settled by it |
| a part that the journal knows and that is gone | named; its items are open again |
| a part that cannot be read | named and set aside under `_state/damaged/`, as above |
| a damaged journal | named and set aside; a new one is made from the parts |
| a journal of a newer version | refused |
"""

import json
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.journal import Journal, PendingRow, SettledAs, Standing, item_key
from pipeline.store.ledger import DatasetSettings, publish_part
from pipeline.store.parts import folder, is_whole, list_parts, sweep, write_whole
from pipeline.store.schema import Kind

__all__ = ["duplicate_key", "open_journal", "recover", "state_folder"]

logger = logging.getLogger(__name__)
_ROWS = 65_536


def state_folder(output: Path) -> Path:
    """The folder of journal and lock, made with mode 0700 where there is none."""
    place = output / "_state"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def duplicate_key(item_id: str, sources: list[str]) -> bytes:
    """The key of a `duplicate_id` failure: the id stands for other images, so the images are part of the key."""
    return item_key(json.dumps([item_id, sources]))


def open_journal(output: Path) -> Journal:
    """The journal, checked; a damaged one is set aside and a new one is made.

    Raises:
        OutputError: it was written by a newer version.
    """
    path = state_folder(output) / "journal.sqlite"
    try:
        journal = Journal(path)
        try:
            journal.check()
        except sqlite3.DatabaseError:
            journal.close()
            raise
    except sqlite3.DatabaseError as error:
        aside = _set_aside(output, path)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        logger.error(
            "the journal was damaged (%s): set aside as %s and made anew from the parts; answers that were in it "
            "alone are lost to the dataset and may be asked again",
            error,
            aside,
        )
        journal = Journal(path)
    return journal


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start put right, counted."""

    parts_rewritten: int = 0
    flights_lost: int = 0


def recover(journal: Journal, settings: DatasetSettings) -> Recovered:
    """Puts right what an earlier run left; see the table above. Does nothing after a clean end."""
    output = settings.output
    for stray in sweep(output):
        logger.warning("%s: removed, left by a run that was killed", stray)
    rewritten = _finish_reserved(journal, settings)
    lost = _land_flights(journal)
    _reconcile_parts(journal, output)
    rewritten += _publish_pending(journal, settings)
    _finish_runs(journal, output)
    return Recovered(rewritten, lost)


def _finish_reserved(journal: Journal, settings: DatasetSettings) -> int:
    rewritten = 0
    for reservation in journal.reserved():
        place = folder(settings.output, reservation.kind) / reservation.name
        if not is_whole(place):
            rows = list(journal.rows_of(reservation.name))
            publish_part(settings, reservation, rows)
            rewritten += 1
        journal.begin()
        journal.published(reservation.name)
        journal.commit()
    return rewritten


def _land_flights(journal: Journal) -> int:
    flights = journal.flights()
    if not flights:
        return 0
    journal.begin()
    for flight, body in flights:
        journal.add_row(PendingRow(Kind.REQUESTS, body))
        journal.end_flight(flight)
    journal.commit()
    logger.warning(
        "%d requests were in flight when the last run was killed; the service may have billed them", len(flights)
    )
    return len(flights)


def _publish_pending(journal: Journal, settings: DatasetSettings) -> int:
    written = 0
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for kind in Kind:
        while journal.pending_counts()[kind]:
            journal.begin()
            reservation = journal.reserve(kind, f"part-{stamp}-recovered-{written:05d}.parquet", settings.rows_per_file)
            journal.commit()
            if reservation is None:
                break
            publish_part(settings, reservation, list(journal.rows_of(reservation.name)))
            journal.begin()
            journal.published(reservation.name)
            journal.commit()
            written += 1
    return written


def _reconcile_parts(journal: Journal, output: Path) -> None:
    known = journal.known_parts()
    present = {path.name: (kind, path) for kind in Kind for path in list_parts(output, kind)}
    gone = [name for name in known if name not in present]
    strange = []
    for name, (kind, path) in present.items():
        if name in known:
            continue
        if is_whole(path):
            strange.append((name, kind, path))
        else:
            aside = _set_aside(output, path)
            logger.error("%s: not a whole Parquet file; set aside as %s, its rows are not in the dataset", path, aside)
    if not gone and not strange:
        return
    journal.begin()
    for name in gone:
        logger.error("%s/%s: gone from the dataset; the items in it are open again", known[name].value, name)
        journal.forget_part(name)
    if gone:
        journal.forget_settled()
        strange = [(name, kind, path) for name, (kind, path) in present.items() if path.exists()]
    for name, kind, path in sorted(strange, key=lambda part: (part[1] is Kind.RESULTS, part[0])):
        journal.settle_all(_standings_of(path, kind))
        journal.adopt_part(name, kind, pq.read_metadata(path).num_rows)
    journal.settle_all(_pending_standings(journal))
    journal.commit()


def _standings_of(path: Path, kind: Kind) -> Iterator[tuple[bytes, str, Standing]]:
    if kind is Kind.REQUESTS:
        return
    columns = ["item_id", "fingerprint"]
    if kind is Kind.FAILURES:
        columns += ["retryable", "error_type", "images"]
    try:
        with pq.ParquetFile(path) as part:
            for batch in part.iter_batches(_ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield _standing(row, kind)
    except (OSError, pa.ArrowException, KeyError) as error:
        logger.error("%s: cannot be read (%s); its items are not known as settled", path, str(error).splitlines()[0])


def _pending_standings(journal: Journal) -> Iterator[tuple[bytes, str, Standing]]:
    for kind, body in journal.pending_rows():
        if kind is not Kind.REQUESTS:
            yield _standing(body, kind)


def _standing(row: dict[str, Any], kind: Kind) -> tuple[bytes, str, Standing]:
    key = item_key(row["item_id"])
    if kind is Kind.RESULTS:
        return key, row["fingerprint"], Standing(SettledAs.SUCCEEDED)
    if row["error_type"] == "duplicate_id":
        key = duplicate_key(row["item_id"], [image["source"] for image in row["images"] or ()])
    state = SettledAs.FAILED_RETRYABLE if row["retryable"] else SettledAs.FAILED
    return key, row["fingerprint"], Standing(state, row["error_type"])


def _finish_runs(journal: Journal, output: Path) -> None:
    for run_id, body in journal.unfinished_runs():
        place = output / "runs"
        place.mkdir(exist_ok=True)
        path = place / f"{run_id}.json"
        if not path.exists():
            note = {**body, "run_id": run_id, "exit_code": None, "killed": True}
            write_whole(path, json.dumps(note, indent=2).encode())
        journal.begin()
        journal.forget_run(run_id)
        journal.commit()


def _set_aside(output: Path, path: Path) -> Path:
    place = state_folder(output) / "damaged"
    place.mkdir(exist_ok=True, mode=0o700)
    aside = place / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{path.name}"
    path.rename(aside)
    return aside
