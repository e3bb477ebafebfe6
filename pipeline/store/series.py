"""A dataset in figures that charts show: what a run did over its time, and how tokens and sizes are spread.

Counted column by column; a few bytes a request and a row are in memory while it is done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.schema import Kind
from pipeline.store.tables import read_batches

__all__ = ["RunSeries", "Spread", "run_series", "spreads"]

_MOST_STEPS = 120
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_BINS = 24
_REQUEST_COLUMNS = ["run_id", "started_at", "duration_ms", "http_status", "cost_usd"]


@dataclass(frozen=True, slots=True)
class RunSeries:
    """What one run did, step by step; all lists are of one length.

    Attributes:
        started_at: of its first request, in UTC.
        step_s: seconds a step.
        answered: requests a second that ended in the step with status 200.
        limited: likewise with 429.
        failed: likewise otherwise, or without an answer.
        median_ms: of the durations of the answered; `None` where there is none.
        slow_ms: the 95th percentile.
        cost_usd: spent since the run's start.
    """

    run_id: str
    started_at: datetime
    step_s: float
    answered: list[float]
    limited: list[float]
    failed: list[float]
    median_ms: list[float | None]
    slow_ms: list[float | None]
    cost_usd: list[float]


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread: `counts[i]` of them lie from `edges[i]` up to `edges[i + 1]`."""

    edges: list[float]
    counts: list[int]
    median: float


def run_series(output: Place, most_runs: int) -> list[RunSeries]:
    """The newest runs that sent something, newest first."""
    batches = list(read_batches(output, Kind.REQUESTS, _REQUEST_COLUMNS))
    if not sum(map(len, batches)):
        return []
    rows = pa.Table.from_batches(batches)
    ended = pc.add(
        rows["started_at"].cast(pa.int64()), pc.multiply(rows["duration_ms"], 1000.0).cast(pa.int64(), safe=False)
    )
    rows = rows.append_column("ended", pc.coalesce(ended, rows["started_at"].cast(pa.int64())))
    firsts = rows.group_by("run_id", use_threads=False).aggregate([("started_at", "min")]).to_pylist()
    newest = sorted(firsts, key=lambda one: one["started_at_min"], reverse=True)[:most_runs]
    return [_series(rows.filter(pc.equal(rows["run_id"], one["run_id"])), one) for one in newest]


def _series(rows: pa.Table, first: dict[str, Any]) -> RunSeries:
    start = rows["started_at"].cast(pa.int64())
    begin = pc.min(start).as_py()
    seconds = (pc.max(rows["ended"]).as_py() - begin) / 1e6
    step_s = next((step for step in _STEPS_S if seconds / step <= _MOST_STEPS), float(int(seconds / _MOST_STEPS) + 1))
    step = pc.divide(pc.subtract(rows["ended"], begin), round(step_s * 1_000_000))
    count = pc.max(step).as_py() + 1
    rows = rows.append_column("step", step)
    good, limited = (pc.fill_null(pc.equal(rows["http_status"], code), False) for code in (200, 429))
    durations = rows.filter(good).group_by("step", use_threads=False)
    quantiles = durations.aggregate([("duration_ms", "tdigest", pc.TDigestOptions(q=[0.5, 0.95]))]).to_pylist()
    middle = {one["step"]: one["duration_ms_tdigest"] for one in quantiles}
    spent, running = _by_step(rows, "cost_usd", "sum"), 0.0
    money = [running := running + (spent.get(at) or 0.0) for at in range(count)]

    def rate(hits: pa.ChunkedArray) -> list[float]:
        found = _by_step(rows.filter(hits), "step", "count")
        return [found.get(at, 0) / step_s for at in range(count)]

    return RunSeries(
        first["run_id"],
        first["started_at_min"],
        step_s,
        rate(good),
        rate(limited),
        rate(pc.invert(pc.or_(good, limited))),
        [middle[at][0] if at in middle else None for at in range(count)],
        [middle[at][1] if at in middle else None for at in range(count)],
        money,
    )


def _by_step(rows: pa.Table, column: str, function: str) -> dict[int, Any]:
    found = rows.group_by("step", use_threads=False).aggregate([(column, function)])
    return dict(zip(found["step"].to_pylist(), found[f"{column}_{function}"].to_pylist(), strict=True))


def spreads(output: Place, fingerprint: str) -> dict[str, Spread]:
    """How output tokens, input tokens and the longer sides of the originals are spread over the answers.

    Keys are `output_tokens`, `input_tokens` and `long_edge_px`; one without values is left out.
    """
    columns = ["fingerprint", "output_tokens", *_INPUT, "images"]
    values: dict[str, list[pa.Array]] = {name: [] for name in _MEASURES}
    for batch in read_batches(output, Kind.RESULTS, columns):
        mine = batch.filter(pc.equal(batch["fingerprint"], fingerprint))
        for name, measure in _MEASURES.items():
            values[name].append(measure(mine))
    found = {name: _spread(pa.chunked_array(arrays, pa.float64()).drop_null()) for name, arrays in values.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _input_tokens(rows: pa.RecordBatch) -> pa.Array:
    parts = [pc.fill_null(rows[name], 0) for name in _INPUT]
    return pc.add(pc.add(parts[0], parts[1]), parts[2]).cast(pa.float64())


def _long_edge(rows: pa.RecordBatch) -> pa.Array:
    images = pc.list_flatten(rows["images"])
    return pc.max_element_wise(pc.struct_field(images, "width"), pc.struct_field(images, "height")).cast(pa.float64())


_MEASURES: dict[str, Callable[[pa.RecordBatch], pa.Array]] = {
    "output_tokens": lambda rows: rows["output_tokens"].cast(pa.float64()),
    "input_tokens": _input_tokens,
    "long_edge_px": _long_edge,
}


def _spread(values: pa.ChunkedArray) -> Spread | None:
    if not len(values):
        return None
    bounds = pc.min_max(values).as_py()
    width = _round_width((bounds["max"] - bounds["min"]) / _BINS)
    low = bounds["min"] // width * width
    count = int((bounds["max"] - low) // width) + 1
    bins = pc.floor(pc.divide(pc.subtract(values, low), width)).cast(pa.int64())
    found = {one["values"]: one["counts"] for one in pc.value_counts(bins).to_pylist()}
    median = pc.quantile(values, 0.5)[0].as_py()
    return Spread([low + width * at for at in range(count + 1)], [found.get(at, 0) for at in range(count)], median)


def _round_width(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is no smaller."""
    power = 1.0
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least:
                return digit * power
        power *= 10
