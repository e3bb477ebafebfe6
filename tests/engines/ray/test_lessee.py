"""A worker's side of a run on many machines, in this process: a shard's run on leases, end to end."""

from pathlib import Path

import pytest
from support.jobs import CANARY, Job, make_job
from support.standins import billed

from pipeline.engines.control import RunControl, Stop
from pipeline.engines.job import LiveRun, RunOptions, run_job
from pipeline.engines.opened import WorkerPart
from pipeline.engines.plan import plan_run
from pipeline.engines.ray.gathering import LogBuffer
from pipeline.engines.ray.lessee import Lessee
from pipeline.engines.ray.office import Answer, Beat, Office, Order
from pipeline.engines.selection import Choice, Part
from pipeline.engines.summary import RunSummary
from pipeline.store.shards import Shard

pytestmark = pytest.mark.anyio
KEYS = {"ANTHROPIC_API_KEY": CANARY}


class Worker:
    """A worker of one shard whose office is an object here; some of its beats do not arrive."""

    def __init__(self, job: Job, office: Office, lost_beats: int = 0) -> None:
        self.plan = plan_run(job.config(), KEYS)
        self.office = office
        self.order = Order("run", self.plan.config, KEYS, Choice(), False, "/", 1, "1")
        self.office.entrust(self.order, {})
        self.stop_at = 0
        self.lost_beats = lost_beats
        self.beats = 0
        self.settled: list[tuple[str, float, int]] = []

    async def run(self, shard: Shard, whole: Part | None = None) -> RunSummary:
        """Its run."""
        joined = self.office.join(shard.index)
        assert joined is not None

        async def tell(beat: Beat) -> Answer | None:
            self.beats += 1
            if self.beats == self.stop_at:
                self.office.stop(Stop(143, "SIGTERM received"), at_once=False)
            return None if self.beats <= self.lost_beats else self.office.beat(shard.index, beat)

        async def lost(run_id: str, spent_usd: float, open_requests: int) -> None:
            self.settled.append((run_id, spent_usd, open_requests))

        self.lessee = lessee = Lessee(tell, lost, LogBuffer())
        lessee.control = control = RunControl(5.0)

        async def view(live: LiveRun) -> None:
            await lessee.settle(live, shard, joined.earlier)
            await lessee.renew(live)

        choice = Choice(shard=(shard.index, shard.of), whole=whole)
        options = RunOptions(choice, signals=False, part=WorkerPart(joined.run_id, control))
        return await run_job(self.plan, options, view)


async def test_a_worker_sends_nothing_without_a_lease_and_all_of_its_shard_with_one(
    tmp_path: Path, start_standin: object
) -> None:
    """Limits are learned through the office; beats that get lost are told anew."""
    server = start_standin(requests_per_minute=6000)  # type: ignore[operator]
    worker = Worker(make_job(tmp_path, server.url, images=16), Office(2), lost_beats=2)
    summary = await worker.run(Shard(1, 2))
    assert summary.exit_code == 0
    assert summary.run_id == "run-s00001a1"
    assert summary.items["succeeded"] == summary.items["total"] > 0
    assert worker.beats > 2
    assert len(billed(server.options.log)) == summary.items["total"]


async def test_a_budget_of_the_whole_run_binds_a_worker(tmp_path: Path, start_standin: object) -> None:
    """It ends with 4 when nothing is left, and what it spent is within it."""
    server = start_standin()  # type: ignore[operator]
    job = make_job(tmp_path, server.url, images=16, settings={"limits": {"budget_usd": 0.004, "concurrency": 2}})
    worker = Worker(job, Office(1))
    summary = await worker.run(Shard(1, 1))
    assert summary.exit_code == 4
    assert 0 < summary.cost_usd <= 0.004
    assert worker.lessee.spent_usd == pytest.approx(summary.cost_usd)


async def test_a_run_that_is_ended_at_the_office_ends_at_the_worker(tmp_path: Path, start_standin: object) -> None:
    """With the code of the whole run; the next worker of the shard counts what the one before left."""
    server = start_standin(latency_s=(0.2, 0.3))  # type: ignore[operator]
    job = make_job(tmp_path, server.url, images=60, settings={"limits": {"concurrency": 2}})
    office = Office(1)
    worker = Worker(job, office)
    worker.stop_at = 5
    summary = await worker.run(Shard(1, 1))
    assert summary.exit_code == 143
    assert summary.items["pending"] > 0
    other = Worker(job, Office(1))
    other.office.join(1)
    await other.run(Shard(1, 1), Part(limit=20))
    assert other.settled == [("run-s00001a1", pytest.approx(summary.cost_usd), 0)]
    assert other.lessee.earlier[0].succeeded == summary.items["succeeded"]


async def test_a_limit_counts_items_of_the_whole_and_not_of_each_shard(tmp_path: Path, start_standin: object) -> None:
    """The first five of the manifest, whichever shard they are in."""
    server = start_standin()  # type: ignore[operator]
    job = make_job(tmp_path, server.url, images=12)
    office = Office(3)
    found = [await Worker(job, office).run(Shard(index, 3), Part(limit=5)) for index in (1, 2, 3)]
    assert sum(one.items["total"] for one in found) == 5
    assert {line["text"] for line in billed(server.options.log)} == {
        f"Describe Picture {number}." for number in range(5)
    }
