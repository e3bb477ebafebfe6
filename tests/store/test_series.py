"""Figures for charts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import MOMENT, answered, paid, with_ledger, write_run

from pipeline.records import Attempt, ImageRecord, Usage
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from pipeline.store.series import run_series, spreads


def write_attempts(output: Path, attempts: list[Attempt], run_id: str = "run-1") -> None:
    """A run that sent these requests."""

    async def body(ledger: Ledger) -> None:
        for attempt in attempts:
            await ledger.arrive(ledger.depart(attempt.item_id, 1, 1, attempt.started_at), attempt)

    with_ledger(output, body, RunIdentity(run_id, "f1"))
    write_run(output, [], run_id=f"{run_id}-after")


def at(seconds: float, status: int = 200, duration_ms: float = 100.0, cost_usd: float = 0.5) -> Attempt:
    """A request that was sent so long after the start."""
    attempt = paid(f"item-{seconds}-{status}", status=status)
    started = MOMENT + timedelta(seconds=seconds)
    return replace(attempt, started_at=started, duration_ms=duration_ms, cost_usd=cost_usd if status == 200 else None)


def test_a_run_step_by_step(tmp_path: Path) -> None:
    """Answered, limited and failed a second; latency and money as they went."""
    write_attempts(tmp_path, [at(0), at(0.05), at(10, 429), at(20, 529), at(59.9, duration_ms=900)])
    (series,) = run_series(tmp_path, 10)
    assert (series.run_id, series.started_at, series.step_s) == ("run-1", MOMENT, 1)
    assert len(series.answered) == 61
    assert (series.answered[0], series.answered[60], sum(series.answered)) == (2, 1, 3)
    assert [number for number, value in enumerate(series.limited) if value] == [10]
    assert [number for number, value in enumerate(series.failed) if value] == [20]
    assert (series.median_ms[0], series.median_ms[1], series.slow_ms[60]) == (100, None, 900)
    assert (series.cost_usd[0], series.cost_usd[59], series.cost_usd[60]) == (1.0, 1.0, 1.5)


def test_the_newest_runs_come_first(tmp_path: Path) -> None:
    """No more than are asked for; none where nothing was sent."""
    assert run_series(tmp_path, 2) == []
    for number in range(3):
        write_attempts(tmp_path, [at(1000 * number)], f"run-{number}")
    assert [series.run_id for series in run_series(tmp_path, 2)] == ["run-2", "run-1"]


@settings(max_examples=15, deadline=None)
@given(
    ends=st.lists(
        st.tuples(st.floats(0, 200_000), st.sampled_from([200, 429, 500]), st.floats(0, 90_000)),
        min_size=1,
        max_size=20,
        unique_by=lambda end: end[:2],
    )
)
def test_every_request_is_in_one_step(tmp_path_factory: object, ends: list[tuple[float, int, float]]) -> None:
    """However long a run took, its steps are few, and their sums are its requests and its money."""
    output = tmp_path_factory.mktemp("series")  # type: ignore[attr-defined]
    write_attempts(output, [at(*end) for end in ends])
    (series,) = run_series(output, 1)
    assert len(series.answered) <= 122
    for values, wanted in ((series.answered, (200,)), (series.limited, (429,)), (series.failed, (500,))):
        assert round(sum(values) * series.step_s) == sum(status in wanted for _, status, _ in ends)
    assert series.cost_usd == sorted(series.cost_usd)
    assert abs(series.cost_usd[-1] - 0.5 * sum(status == 200 for _, status, _ in ends)) < 1e-9


def test_tokens_and_sizes_are_spread_over_round_bins(tmp_path: Path) -> None:
    """Each answer is in one bin; items under other fingerprints are in none."""
    sizes = [(100, 50), (640, 480), (4000, 3000)]
    write_run(
        tmp_path,
        [
            replace(
                answered(f"item-{number}", usage=Usage(10 * number, number, 3, 4)),
                images=(ImageRecord("x.jpg", width=width, height=height),),
            )
            for number, (width, height) in enumerate(sizes)
        ],
    )
    write_run(tmp_path, [answered("z")], run_id="run-2", fingerprint="f2")
    found = spreads(tmp_path, "f1")
    assert set(found) == {"output_tokens", "input_tokens", "long_edge_px"}
    assert {sum(spread.counts) for spread in found.values()} == {3}
    edges = found["long_edge_px"].edges
    assert (edges[0], edges[1] - edges[0], found["long_edge_px"].median) == (0, 200, 640)
    assert edges[-2] <= 4000 < edges[-1]
    assert spreads(tmp_path, "nobody") == {}
