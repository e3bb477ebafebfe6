"""Runs in the Batches mode in this process, and the stand-in's account of them held against the dataset."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pyarrow.parquet as pq

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from pipeline.standin.faults import parse_fault
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer
from pipeline.store.parts import list_parts
from pipeline.store.read import read_results
from pipeline.store.schema import Kind
from support.batching import ended
from support.jobs import CANARY, Job, make_job
from support.standins import billed, read_log

__all__ = ["Bench", "judged", "standing"]


@dataclass(frozen=True)
class Bench:
    """A job beside a stand-in with batches."""

    job: Job
    server: StandinServer
    log: Path

    def run(self, *overrides: str, choice: Choice | None = None, **options: Any) -> RunSummary:
        """A whole run; whatever it came to, its counts add up."""
        plan = plan_run(self.job.config(*overrides), {"ANTHROPIC_API_KEY": CANARY})
        summary = anyio.run(run_job, plan, RunOptions(choice=choice or Choice(), signals=False, **options))
        counts = dict(summary.items)
        assert counts.pop("total") == sum(counts.values()), summary.items
        assert min(counts.values()) >= 0, summary.items
        return summary

    def faults(self, *faults: str) -> None:
        """What befalls calls from now on."""
        self.server.service.faults = tuple(parse_fault(fault) for fault in faults)

    def ended(self, batch_id: str) -> None:
        """Waits until a batch has ended."""
        ended(self.server, batch_id)

    @property
    def batches(self) -> Any:
        """The server's batches."""
        return self.server.service.batches

    def lines(self, event: str, **wanted: Any) -> list[dict[str, Any]]:
        """Lines of the log of one event whose fields are so."""
        found = [line for line in read_log(self.log) if line["event"] == event]
        return [line for line in found if all(line.get(name) == value for name, value in wanted.items())]

    def rows(self, table: str = "results") -> list[dict[str, Any]]:
        """The rows of the dataset, failures and requests included where asked for."""
        chosen = {table: True} if table != "results" else {}
        rows: list[dict[str, Any]] = read_results(self.job.output, **chosen).to_pylist()
        return rows


@contextmanager
def standing(
    folder: Path,
    images: int = 6,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    faults: tuple[str, ...] = (),
    **options: Any,
) -> Iterator[Bench]:
    """A job of so many items in the Batches mode, and the stand-in that it asks."""
    chosen = StandinOptions(log=folder / "log.jsonl", faults=tuple(parse_fault(each) for each in faults), **options)
    with StandinServer(chosen) as server:
        tree = {name: dict(values) for name, values in (settings or {}).items()}
        api = {"mode": "batches", "poll_seconds": 0.02, **tree.pop("api", {})}
        job = make_job(folder / "job", server.url, images, {"api": api, **tree})
        yield Bench(job, server, folder / "log.jsonl")


def judged(bench: Bench, *, items: int | None = None, answers: int = 1) -> None:
    """Asserts that nothing is lost, doubled or paid twice, by the server's own account.

    Args:
        bench: the job and its server.
        items: so many have a row of `results`.
        answers: so many may be paid for of one turn: more than one where they are repaired.
    """
    asked = Counter(line["custom_id"] for line in bench.lines("batch_request"))
    assert not [name for name, count in asked.items() if count > 1], "a request was created twice"
    results = {(line["batch_id"], line["custom_id"]): line for line in bench.lines("batch_result") if line["billed"]}
    turns = Counter(name.rsplit("-", 2)[0] for _, name in results)
    assert not [name for name, count in turns.items() if count > answers], "a turn was billed twice"
    seen = {(line["batch_id"], line["custom_id"]) for line in bench.lines("batch_delivered")}
    bill = [line for place, line in results.items() if place in seen] + billed(bench.log)
    paid = sum(row["cost_usd"] or 0 for row in _every(bench, Kind.REQUESTS, "cost_usd"))
    assert abs(paid - sum(line["cost_usd"] for line in bill)) < 1e-9
    settled = [tuple(row.values()) for row in _every(bench, Kind.RESULTS, "item_id", "fingerprint")]
    assert len(settled) == len(set(settled)), "an item was settled twice"
    if items is not None:
        assert len(settled) == items


def _every(bench: Bench, kind: Kind, *columns: str) -> list[dict[str, Any]]:
    """The rows as they stand in the parts, of whatever fingerprint."""
    parts = [pq.ParquetFile(part).read(columns=list(columns)) for part in list_parts(bench.job.output, kind)]
    return [row for part in parts for row in part.to_pylist()]
