"""What a run of a shard that was killed has left in the dataset, counted from the parts."""

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Usage
from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard
from pipeline.store.tables import read_part

__all__ = ["RunTally", "tally_run"]

_TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(slots=True)
class RunTally:
    """One run's rows.

    Attributes:
        failed: failures that no later run takes up by itself, by type; the others are taken up again.
        images: of the answered items.
        sent: requests, and of them those `answered`, `retried`, `rate_limited`, and those whose end is `unknown`.
    """

    succeeded: int = 0
    reused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    images: int = 0
    sent: int = 0
    answered: int = 0
    retried: int = 0
    rate_limited: int = 0
    unknown: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0


def tally_run(output: Place, shard: Shard, run_id: str) -> RunTally:
    """Counts what a run of that shard has left, once a start has brought in what was in its journal."""
    found = RunTally()
    for batch in _rows(output, shard, run_id, Kind.RESULTS, ["mode", "images"]):
        reused = _count(pc.equal(batch["mode"], "reused"))
        found.reused += reused
        found.succeeded += len(batch) - reused
        fresh = batch.filter(pc.not_equal(batch["mode"], "reused"))
        found.images += pc.sum(pc.list_value_length(fresh["images"]), min_count=0).as_py()
    for batch in _rows(output, shard, run_id, Kind.FAILURES, ["retryable", "error_type"]):
        final = batch.filter(pc.invert(batch["retryable"]))
        found.failed.update(final["error_type"].to_pylist())
    for batch in _rows(output, shard, run_id, Kind.REQUESTS, [*_TOKENS, "cost_usd", "http_status", "attempt"]):
        status = batch["http_status"]
        found.sent += len(batch)
        found.answered += _count(pc.equal(status, 200))
        found.rate_limited += _count(pc.equal(status, 429))
        found.retried += _count(pc.greater(batch["attempt"], 1))
        found.unknown += batch["cost_usd"].null_count
        found.usage += Usage(**{name: pc.sum(batch[name], min_count=0).as_py() for name in _TOKENS})
        found.cost_usd += pc.sum(batch["cost_usd"], min_count=0).as_py()
    return found


def _rows(output: Place, shard: Shard, run_id: str, kind: Kind, columns: list[str]) -> list[pa.RecordBatch]:
    """The run's rows; they are in parts of its own shard alone."""
    found = []
    for part in list_parts(output, kind):
        if Shard.of_part(part.name) == shard:
            for batch in read_part(part, kind, ["run_id", *columns]):
                mine = batch.filter(pc.equal(batch["run_id"], run_id))
                found += [mine] if len(mine) else []
    return found


def _count(hits: pa.Array) -> int:
    return pc.sum(hits, min_count=0).as_py() or 0
