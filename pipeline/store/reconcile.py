"""The journal's list of parts and its index, brought to what stands in the folders. The rules are in `recovery`."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import ErrorType
from pipeline.store.buckets import BucketPath, Place
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal, SettledAs, Standing
from pipeline.store.keys import duplicate_key, item_key
from pipeline.store.leases import recent_parts
from pipeline.store.parts import (
    Stamp,
    folder,
    is_whole,
    list_parts,
    made_folder,
    opened_part,
    stamp_of,
    sync_folder,
    write_whole,
)
from pipeline.store.places import state_folder
from pipeline.store.rewriting import rewrite
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

__all__ = ["drop_published", "reconcile_parts", "set_aside", "state_folder"]

logger = logging.getLogger(__name__)
_ROWS = 65_536
_ROW_NAMES = {
    Kind.RESULTS: ["item_id", "fingerprint"],
    Kind.FAILURES: ["item_id", "fingerprint", "created_at"],
    Kind.REQUESTS: ["item_id", "run_id", "turn", "attempt", "started_at"],
}
"""The columns that tell one row of a table from all others."""

Settled = tuple[bytes, str, Standing]
Present = Mapping[tuple[Kind, str], Place]


def set_aside(output: Place, path: Place) -> Path:
    """Moves what is damaged out of the dataset; nothing is ever deleted."""
    if isinstance(path, BucketPath):
        aside = keep_aside(output, path)
        path.unlink()
        return aside
    place = made_folder(state_folder(output) / "damaged", 0o700)
    aside = place / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{path.name}"
    path.rename(aside)
    sync_folder(place)
    sync_folder(path.parent)
    return aside


def keep_aside(output: Place, path: Place) -> Path:
    """Keeps what stands at a path, which is about to be rewritten there."""
    place = made_folder(state_folder(output) / "damaged", 0o700)
    aside = place / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{path.name}"
    if isinstance(path, BucketPath):
        write_whole(aside, path.read_bytes(), mode=0o600)
    else:
        aside.hardlink_to(path)
    sync_folder(place)
    return aside


def reconcile_parts(journal: Journal, output: Place, compression: str = "zstd", shard: Shard | None = None) -> int:
    """Makes the journal agree with the parts; returns how many of them it did not know.

    That of a shard is made to agree for the shard's own items, and no part is changed: others may be at work.
    """
    known = journal.pending.known_parts()
    present = _sound_parts(output, known, shard)
    gone = known.keys() - present.keys()
    strange = {key: path for key, path in present.items() if key not in known}
    ours = {key: path for key, path in present.items() if key in known}
    changed = {key: stamp for key, path in ours.items() if (stamp := stamp_of(path)) and stamp != known[key]}
    is_doubtful = bool(changed) or not journal.database.is_sealed
    is_index_lost = bool(gone) or (is_doubtful and not _agrees(journal, ours, shard))
    if not (is_index_lost or strange or changed):
        return 0
    with journal.transaction():
        for kind, name in gone:
            logger.error("%s/%s/%s: gone from the dataset; the items in it are open again", output, kind, name)
            journal.pending.forget_part(kind, name)
        for (kind, name), stamp in changed.items():
            journal.pending.adopt_part(kind, name, stamp)
        if is_index_lost:
            logger.warning("%s: the journal's index is made anew from the parts", output)
            journal.forget_settled()
            _settle(journal, ours, shard)
        _adopt(journal, output, strange, None if shard else compression, shard)
        journal.settle_all(_pending_standings(journal))
        seconds = journal.pending.replacements()
        journal.settle_all((item_key(item_id), mark, Standing(SettledAs.SUCCEEDED)) for _, item_id, mark in seconds)
    return len(strange)


def drop_published(journal: Journal, settings: DatasetSettings) -> None:
    """Lets go of rows that wait for a part and whose items stand in parts of other machines."""
    known = journal.pending.known_parts()
    strange = [path for path in list_parts(settings.output, Kind.RESULTS) if (Kind.RESULTS, path.name) not in known]
    with journal.transaction():
        for path in strange:
            if settings.shard is None or settings.shard.may_be_in(path.name):
                _drop_pending(journal, Kind.RESULTS, path)


def _sound_parts(
    output: Place, known: Mapping[tuple[Kind, str], Stamp], shard: Shard | None
) -> dict[tuple[Kind, str], Place]:
    """The parts that stand in the folders; what is neither as it was written nor whole is set aside.

    A shard leaves such a one where it is, and looks at no part that can have none of its items.
    """
    found: dict[tuple[Kind, str], Place] = {}
    for kind in Kind:
        for path in _standing_parts(output, kind, known):
            if shard is not None and not shard.may_be_in(path.name):
                continue
            stamp = stamp_of(path)
            is_as_written = stamp is not None and stamp == known.get((kind, path.name))
            if is_as_written or _is_sound(path, kind):
                found[kind, path.name] = path
                continue
            if shard is not None:
                logger.error("%s: cannot be read; left to a run without --shard, its items are open again", path)
                continue
            aside = set_aside(output, path)
            logger.error("%s: cannot be read; set aside as %s, its rows are out of the dataset", path, aside)
    return found


def _standing_parts(output: Place, kind: Kind, known: Mapping[tuple[Kind, str], Stamp]) -> list[Place]:
    """The parts of a table, also those that are too new for a listing of an object store."""
    listed = list(list_parts(output, kind))
    if isinstance(output, BucketPath):
        recent = (name.removeprefix(f"{kind}/") for name in recent_parts(output) if name.startswith(f"{kind}/"))
        names = {name for other, name in known if other is kind}.union(recent) - {path.name for path in listed}
        listed += [path for name in sorted(names) if (path := folder(output, kind) / name).is_file()]
    return listed


def _is_sound(path: Place, kind: Kind) -> bool:
    """Whether a part is one of this table; of an object store's, which are put whole, what tells its rows is read."""
    names = list({*_ROW_NAMES[kind], "item_id", "fingerprint"})
    if not is_whole(path, names if isinstance(path, BucketPath) else None):
        return False
    with opened_part(path) as part:
        return set(names) <= set(part.schema_arrow.names)


def _agrees(journal: Journal, present: Present, shard: Shard | None) -> bool:
    """Whether the index knows exactly the answers that stand in parts and pending rows."""
    sums: dict[str, tuple[int, int]] = {}
    answers = (_standings(path, kind, shard) for (kind, _), path in present.items() if kind is Kind.RESULTS)
    for key, fingerprint, standing in chain(chain.from_iterable(answers), _pending_standings(journal)):
        if standing.state is SettledAs.SUCCEEDED:
            number, mixed = sums.get(fingerprint, (0, 0))
            sums[fingerprint] = number + 1, mixed ^ int.from_bytes(key)
    return sums == journal.settled_sums()


def _settle(journal: Journal, present: Present, shard: Shard | None) -> None:
    """Settles the items of these parts, failures first, older names first; of a shard its own."""
    for kind, name in sorted(present, key=lambda key: (key[0] is Kind.RESULTS, key[1])):
        journal.settle_all(_standings(present[kind, name], kind, shard))


def _adopt(journal: Journal, output: Place, strange: Present, compression: str | None, shard: Shard | None) -> None:
    """Takes parts that the journal does not know, without the answers that it does.

    Without a `compression` none is rewritten.
    """
    adopted = 0
    for (kind, name), path in sorted(strange.items()):
        if compression and kind is Kind.RESULTS and not _only_new(journal, output, path, compression):
            continue
        _drop_pending(journal, kind, path)
        _settle(journal, {(kind, name): path}, shard)
        journal.pending.adopt_part(kind, name, stamp_of(folder(output, kind) / name) or Stamp(0))
        adopted += Shard.of_part(name) is None
    if adopted:
        level = logging.WARNING if shard is None else logging.INFO
        logger.log(level, "%s: %d parts were not in the journal; their items count as settled", output, adopted)


def _only_new(journal: Journal, output: Place, path: Place, compression: str) -> bool:
    """Sees to it that each answer of the part stands in it alone; whether any is left.

    A row that waits in the journal for a part of its own is no second one: the part is the truth for it.
    """
    known = _known_answers(journal, path)
    if known is None:
        return True
    seen: set[tuple[bytes, str]] = set()
    kept = 0

    def stays(batch: pa.RecordBatch) -> list[bool]:
        nonlocal kept
        rows = zip(batch["item_id"].to_pylist(), batch["fingerprint"].to_pylist(), strict=True)
        keys = [(item_key(item_id), mark) for item_id, mark in rows]
        new = []
        for key in keys:
            new.append(key not in known and key not in seen)
            seen.add(key)
        kept += sum(new)
        return new

    with opened_part(path) as part:
        for batch in part.iter_batches(_ROWS, columns=["item_id", "fingerprint"]):
            stays(batch)
    if not kept:
        aside = set_aside(output, path)
        logger.error("%s: its answers stand in other parts too; set aside as %s", path, aside)
        return False
    aside = keep_aside(output, path)
    seen.clear()
    rewrite(path, Kind.RESULTS, [path], compression, stays=stays)
    logger.error("%s: some of its answers stand elsewhere too; rewritten without them, it was kept as %s", path, aside)
    return True


def _known_answers(journal: Journal, path: Place) -> set[tuple[bytes, str]] | None:
    """The answers of a part that stand in parts which were taken already; `None` where each is new and there once."""
    waiting = {(key, mark) for key, mark, _ in _pending_standings(journal)}
    answers = [(key, mark) for key, mark, _ in _standings(path, Kind.RESULTS)]
    known: set[tuple[bytes, str]] = set()
    for mark in {mark for _, mark in answers}:
        standings = journal.standings([key for key, one in answers if one == mark], mark)
        known |= {(key, mark) for key, found in standings.items() if found.state is SettledAs.SUCCEEDED}
    known -= waiting
    return known if known or len(set(answers)) < len(answers) else None


def _drop_pending(journal: Journal, kind: Kind, path: Place) -> None:
    """Lets go of pending rows that stand in this part: the journal is older than the part."""
    names = _ROW_NAMES[kind]
    waiting = {tuple(body[name] for name in names): row for row, body in journal.pending.numbered_rows(kind)}
    if not waiting:
        return
    for row in _rows(path, names):
        number = waiting.get(tuple(row.values()))
        if number is not None:
            journal.pending.drop(number, path.name)


def _standings(path: Place, kind: Kind, shard: Shard | None = None) -> Iterator[Settled]:
    if kind is Kind.REQUESTS:
        return
    columns = ["item_id", "fingerprint"]
    if kind is Kind.FAILURES:
        columns += ["retryable", "error_type", "images"]
    for row in _rows(path, columns):
        if shard is None or shard.holds(row["item_id"]):
            yield _standing(row, kind)


def _rows(path: Place, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a part that `is_whole`, times as microseconds."""
    with opened_part(path) as part:
        for batch in part.iter_batches(_ROWS, columns=columns):
            times = {name: batch[name].cast("int64") for name in columns if name.endswith("_at")}
            plain = [times.get(name, batch[name]) for name in columns]
            yield from pa.RecordBatch.from_arrays(plain, columns).to_pylist()


def _pending_standings(journal: Journal) -> Iterator[Settled]:
    for kind, body in journal.pending.rows():
        if kind is not Kind.REQUESTS:
            yield _standing(body, kind)


def _standing(row: Mapping[str, Any], kind: Kind) -> Settled:
    key = item_key(row["item_id"])
    if kind is Kind.RESULTS:
        return key, row["fingerprint"], Standing(SettledAs.SUCCEEDED)
    if row["error_type"] == ErrorType.DUPLICATE_ID:
        key = duplicate_key(row["item_id"], [image["source"] for image in row["images"] or ()])
    state = SettledAs.FAILED_RETRYABLE if row["retryable"] else SettledAs.FAILED
    return key, row["fingerprint"], Standing(state, row["error_type"])
