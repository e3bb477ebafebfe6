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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import OutputError
from pipeline.records import Usage
from pipeline.store.buckets import Place, place_of
from pipeline.store.parts import list_parts, listed
from pipeline.store.projecting import Part, narrowed, read_chosen
from pipeline.store.reviews import apply_reviews, newest_reviews
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

    output: Place
    succeeded: int = 0
    failed: int = 0
    failures_by_type: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    requests: RequestCounts = field(default_factory=RequestCounts)
    runs: tuple[dict[str, Any], ...] = ()
    fingerprints: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_results(  # noqa: PLR0913 - each names one thing that a reader may want
    output: str | Place,
    *,
    failures: bool = False,
    requests: bool = False,
    fingerprint: str | None = None,
    columns: Sequence[str] | None = None,
    filter: pc.Expression | None = None,  # noqa: A002 - as pyarrow's own readers name it
    reviewed: bool = False,
) -> pa.Table:
    """One table of a dataset, from its committed parts; the schema is the contract's, empty or not.

    Args:
        output: the dataset's folder, or its URL in an object store.
        failures: the items that stand as failed, each by its newest failure, instead of the answers.
        requests: the requests, of every fingerprint unless one is given, instead of the answers.
        fingerprint: whose rows; without one, the fingerprint of the newest row.
        columns: the columns that are wanted, in this order; the others are not read.
        filter: which rows, such as `pyarrow.compute.field("cost_usd") > 0.01`; it may name any column, a field of
            `manifest` or `data` as `field("manifest", "year")`. What the parts' statistics rule out is not read.
        reviewed: the answers as reviewers left them (see `reviews`): edited captions in the place of the answered
            ones, rejected rows left out; columns and filter are of those.

    Raises:
        OutputError: `output` is not there, or no dataset.
        TypeError: `columns` is no list, or `filter` no expression.
        ValueError: both `failures` and `requests`, or `reviewed` with one of them, a column that is not there, or a
            filter that does not fit.
    """
    if failures and requests:
        raise ValueError("read_results: failures= and requests= are two tables; ask for one at a time")
    if reviewed and (failures or requests):
        raise ValueError("read_results: reviewed= is about the answers; failures and requests are not reviewed")
    place = _dataset(output)
    kind = Kind.REQUESTS if requests else Kind.FAILURES if failures else Kind.RESULTS
    if reviewed and (reviews := newest_reviews(place)):
        return steady(
            place,
            lambda: narrowed(apply_reviews(_read(place, kind, fingerprint, None, None), reviews), columns, filter),
        )
    return steady(place, lambda: _read(place, kind, fingerprint, columns, filter))


def _read(
    place: Place,
    kind: Kind,
    fingerprint: str | None,
    columns: Sequence[str] | None,
    wanted: pc.Expression | None,
) -> pa.Table:
    if kind is not Kind.REQUESTS and fingerprint is None:
        fingerprint = _newest_fingerprint(place)
        if fingerprint is None:
            return narrowed(joined([], kind), columns, wanted)
    if kind is Kind.FAILURES and fingerprint is not None:
        return narrowed(_standing_failures(place, fingerprint), columns, wanted)
    if columns is None and wanted is None:
        return read_table(place, kind, fingerprint)
    return read_chosen(place, kind, fingerprint, columns, wanted)


def dataset_status(output: str | Place) -> DatasetStatus:
    """What the dataset holds, read column by column: about 200 bytes of memory an item while it is counted.

    Raises:
        OutputError: `output` is not there, or no dataset.
    """
    place = _dataset(output)
    return steady(place, lambda: _status(place))


def steady(output: Place, look: Callable[[], _Found]) -> _Found:
    """A look at the tables during which no compaction took place; looked anew where one did."""
    for _ in range(_LOOKS):
        before = _folders(output)
        found = look()
        if _folders(output) == before:
            break
    return found


def _folders(output: Place) -> list[int | None]:
    """What tells the tables' folders from others that take their places; in an object store none does."""
    if not isinstance(output, Path):
        return []
    places = [output / kind.value for kind in Kind]
    return [place.stat().st_ino if place.is_dir() else None for place in places]


def _status(place: Place) -> DatasetStatus:
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


def _standing_failures(output: Place, fingerprint: str) -> pa.Table:
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


def _newest_fingerprint(output: Place) -> str | None:
    """By the newest row; parts that cannot have it, by their footers, are not read."""
    newest: tuple[int, str] | None = None
    parts = [Part(path, kind) for kind in (Kind.RESULTS, Kind.FAILURES) for path in list_parts(output, kind)]
    for bound, part in sorted(((part.newest(), part) for part in parts), key=lambda pair: -pair[0]):
        if newest and newest[0] >= bound:
            break
        for batch in read_part(part.path, part.kind, ["fingerprint", "created_at"]):
            times = batch["created_at"].cast(pa.int64())
            at = pc.index(times, pc.max(times)).as_py()
            if at >= 0 and (newest is None or times[at].as_py() > newest[0]):
                newest = (times[at].as_py(), batch["fingerprint"][at].as_py())
    return newest[1] if newest else None


def _bill(output: Place) -> tuple[Usage, float, RequestCounts]:
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


def _runs(output: Place) -> Iterator[dict[str, Any]]:
    for path in listed(output / "runs", "[!.]*.json"):
        try:
            entry = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            logger.warning("%s: left out, it cannot be read: %s", path, error)
            continue
        if isinstance(entry, dict):
            yield entry
        else:
            logger.warning("%s: left out, it is not the entry of a run", path)


def _dataset(output: str | Place) -> Place:
    place = place_of(output)
    if not place.is_dir():
        raise OutputError(f"{place}: there is no such folder")
    if not any((place / name).is_dir() for name in (*Kind, "runs", "_state")):
        raise OutputError(f"{place}: is no dataset: it has no results, failures or requests folder")
    return place
