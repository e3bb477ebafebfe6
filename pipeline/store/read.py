"""Readers of a dataset: its tables, and what it holds in sum. They take no lock, write nothing, and never wait.

A reader may look at any time, also while a run writes: parts are moved in whole, so that what is listed is committed.
A part that is damaged, foreign or gone since it was listed is named by a warning and left out. A table is as of the
moment at which its parts were listed: what a run commits meanwhile is in the next look. A compaction exchanges whole
folders: whoever finds that a folder is another than it was when the look began looks again (`steady`).

An item's state is its newest row by `created_at`, over `results` and `failures`. A failure of type `duplicate_id` is
of another item than the one whose id it shares, and is told from it by its images.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import OutputError
from pipeline.records import Usage
from pipeline.store.parts import folder, list_parts
from pipeline.store.rows import TOKEN_COLUMNS
from pipeline.store.schema import Kind
from pipeline.store.states import STATE_COLUMNS, States
from pipeline.store.tables import joined, read_batches, read_part, read_table

__all__ = ["DatasetStatus", "RequestCounts", "dataset_status", "read_results", "steady"]

logger = logging.getLogger(__name__)
_LOOKS = 5
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """HTTP attempts over the dataset's whole life.

    Attributes:
        succeeded: answered with 200.
        retried: not the first attempt of their turn.
        rate_limited: answered with 429.
    """

    sent: int = 0
    succeeded: int = 0
    retried: int = 0
    rate_limited: int = 0


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """What a dataset holds.

    Attributes:
        succeeded: items whose newest row, over all fingerprints, is an answer.
        failed: items whose newest row is a failure.
        failures_by_type: of the failed, most frequent first.
        usage: the token columns summed over `requests`.
        cost_usd: likewise.
        runs: the entries of `runs/`, by name.
        fingerprints: `(succeeded, failed)` by fingerprint, each counting items by their newest row under it; the
            fingerprint of the newest row comes first.
    """

    output: Path
    succeeded: int = 0
    failed: int = 0
    failures_by_type: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    requests: RequestCounts = field(default_factory=RequestCounts)
    runs: tuple[dict[str, Any], ...] = ()
    fingerprints: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_results(
    output: str | Path, *, failures: bool = False, requests: bool = False, fingerprint: str | None = None
) -> pa.Table:
    """One table of a dataset, from its committed parts; the schema is the contract's, empty or not.

    Args:
        output: the dataset's folder.
        failures: the items that stand as failed, each by its newest failure, instead of the answers.
        requests: the requests, of every fingerprint unless one is given, instead of the answers.
        fingerprint: whose rows; without one, the fingerprint of the newest row.

    Raises:
        OutputError: `output` is not there, or no dataset.
        ValueError: both `failures` and `requests`.
    """
    if failures and requests:
        raise ValueError("read_results: failures= and requests= are two tables; ask for one at a time")
    place = _dataset(output)
    return steady(place, lambda: _read(place, fingerprint, failures=failures, requests=requests))


def _read(place: Path, fingerprint: str | None, *, failures: bool, requests: bool) -> pa.Table:
    if requests:
        return read_table(place, Kind.REQUESTS, fingerprint)
    kind = Kind.FAILURES if failures else Kind.RESULTS
    wanted = fingerprint if fingerprint is not None else _newest_fingerprint(place)
    if wanted is None:
        return joined([], kind)
    return _standing_failures(place, wanted) if failures else read_table(place, kind, wanted)


def dataset_status(output: str | Path) -> DatasetStatus:
    """What the dataset holds, read column by column: about 200 bytes of memory an item while it is counted.

    Raises:
        OutputError: `output` is not there, or no dataset.
    """
    place = _dataset(output)
    return steady(place, lambda: _status(place))


def steady(output: Path, look: Callable[[], _Found]) -> _Found:
    """A look at the tables during which no compaction took place; looked anew where one did."""
    for _ in range(_LOOKS):
        before = _folders(output)
        found = look()
        if _folders(output) == before:
            break
    return found


def _folders(output: Path) -> list[int | None]:
    """What tells the tables' folders from others that take their places."""
    places = [folder(output, kind) for kind in Kind]
    return [place.stat().st_ino if place.is_dir() else None for place in places]


def _status(place: Path) -> DatasetStatus:
    states = States()
    for kind in (Kind.FAILURES, Kind.RESULTS):
        columns = STATE_COLUMNS if kind is Kind.RESULTS else [*STATE_COLUMNS, "error_type", "images"]
        for batch in read_batches(place, kind, columns):
            states.add(batch)
    by_type, by_fingerprint = states.counts()
    usage, cost_usd, counts = _bill(place)
    succeeded = by_type.pop(None, 0)
    return DatasetStatus(
        place,
        succeeded,
        sum(by_type.values()),
        {str(name): number for name, number in sorted(by_type.items(), key=lambda pair: (-pair[1], str(pair[0])))},
        usage,
        cost_usd,
        counts,
        tuple(_runs(place)),
        {
            fingerprint: (found.get(None, 0), sum(found.values()) - found.get(None, 0))
            for fingerprint, found in by_fingerprint.items()
        },
    )


def _standing_failures(output: Path, fingerprint: str) -> pa.Table:
    table = read_table(output, Kind.FAILURES, fingerprint)
    states = States()
    start = 0
    for batch in table.select([*STATE_COLUMNS, "error_type", "images"]).to_batches():
        states.add(batch, pa.array(range(start, start + len(batch))))
        start += len(batch)
    if not start:
        return table
    for path in list_parts(output, Kind.RESULTS):
        for batch in read_part(path, Kind.RESULTS, STATE_COLUMNS, fingerprint):
            states.add(batch)
    rows = states.newest()["row"]
    rows = rows.filter(pc.greater_equal(rows, 0))
    return table.take(rows.take(pc.sort_indices(rows)))


def _newest_fingerprint(output: Path) -> str | None:
    newest: tuple[int, str] | None = None
    for kind in (Kind.RESULTS, Kind.FAILURES):
        for batch in read_batches(output, kind, ["fingerprint", "created_at"]):
            times = batch["created_at"].cast(pa.int64())
            at = pc.index(times, pc.max(times)).as_py()
            if at >= 0 and (newest is None or times[at].as_py() > newest[0]):
                newest = (times[at].as_py(), batch["fingerprint"][at].as_py())
    return newest[1] if newest else None


def _bill(output: Path) -> tuple[Usage, float, RequestCounts]:
    tokens = dict.fromkeys(TOKEN_COLUMNS, 0)
    cost_usd = 0.0
    counts = [0, 0, 0, 0]
    for batch in read_batches(output, Kind.REQUESTS, [*TOKEN_COLUMNS, "cost_usd", "http_status", "attempt"]):
        for name in TOKEN_COLUMNS:
            tokens[name] += _sum(batch[name])
        cost_usd += _sum(batch["cost_usd"])
        status = batch["http_status"]
        for number, hits in enumerate(
            (pc.equal(status, 200), pc.greater(batch["attempt"], 1), pc.equal(status, 429)), start=1
        ):
            counts[number] += _sum(hits)
        counts[0] += len(batch)
    return Usage(**tokens), cost_usd, RequestCounts(*counts)


def _sum(values: pa.Array) -> Any:
    return pc.sum(values, min_count=0).as_py()


def _runs(output: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((output / "runs").glob("[!.]*.json")):
        try:
            entry = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            logger.warning("%s: left out, it cannot be read: %s", path, error)
            continue
        if isinstance(entry, dict):
            yield entry
        else:
            logger.warning("%s: left out, it is not the entry of a run", path)


def _dataset(output: str | Path) -> Path:
    place = Path(output)
    if not place.is_dir():
        raise OutputError(f"{place}: there is no such folder")
    if not any((place / name).is_dir() for name in (*Kind, "runs", "_state")):
        raise OutputError(f"{place}: is no dataset: it has no results, failures or requests folder")
    return place
