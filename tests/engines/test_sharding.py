"""Shards of one output: at the same time, in any order, killed as real processes, and cut anew."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from support.jobs import CANARY, Job, make_job, pipeline_process
from support.standins import answers, billed

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.errors import OutputHeldError
from pipeline.standin.server import StandinServer
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

pytestmark = pytest.mark.anyio
OWN = ["run_id", "request_id", "message_id", "created_at", "latency_ms"]
"""Columns in which two runs over the same items differ."""
START_STANDIN = Callable[..., StandinServer]


async def run(job: Job, *shards: str | None) -> list[int]:
    """Runs of shards at the same time, in this process; their exit codes."""
    codes: dict[str | None, int] = {}

    async def one(shard: str | None) -> None:
        parts = tuple(map(int, shard.split("/"))) if shard else None
        options = RunOptions(Choice(shard=(parts[0], parts[1]) if parts else None), signals=False)
        plan = plan_run(job.config("limits.concurrency=1"), {"ANTHROPIC_API_KEY": CANARY})
        codes[shard] = (await run_job(plan, options)).exit_code

    async with anyio.create_task_group() as tasks:
        for shard in shards:
            tasks.start_soon(one, shard)
    return [codes[shard] for shard in shards]


def kill_amid(job: Job, server: StandinServer, shard: str) -> None:
    """Kills a run of a shard once it has two answers in its journal, and none in a part."""
    assert server.options.log is not None
    before = len(answers(server.options.log))
    sets = ("--set", "limits.concurrency=1", "--set", "output.flush_seconds=3600")
    process = pipeline_process("run", job.config_path, "--shard", shard, *sets)
    while len(answers(server.options.log)) < before + 3:  # with one in flight, two are committed by then
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()


def rows(output: Path) -> list[dict[str, Any]]:
    """The answers in the order of their ids, without what is each run's own."""
    table: pa.Table = read_results(output)
    return table.drop_columns(OWN).sort_by("item_id").to_pylist()


def keys(output: Path) -> list[tuple[str, str]]:
    """Item and fingerprint of every row as it stands in the files."""
    return [(row["item_id"], row["fingerprint"]) for row in read_results(output).to_pylist()]


async def test_eight_shards_with_two_killed_come_to_what_one_run_comes_to(
    tmp_path: Path, start_standin: START_STANDIN
) -> None:
    """In random order, three at a time: row for row the dataset of a run without shards, each answer paid for once."""
    server = start_standin(latency_s=(0.005, 0.02))
    assert server.options.log is not None
    whole = make_job(tmp_path, server.url, images=64, settings={"output": {"path": str(tmp_path / "whole")}})
    assert await run(whole, None) == [0]
    paid = len(billed(server.options.log))
    job = make_job(tmp_path, server.url, images=64)
    order = [f"{index}/8" for index in range(1, 9)]
    random.Random(9).shuffle(order)
    kill_amid(job, server, order[0])
    kill_amid(job, server, order[4])
    for at in range(0, 8, 3):
        assert set(await run(job, *order[at : at + 3])) == {0}
    assert rows(job.output) == rows(whole.output)
    assert len(keys(job.output)) == len(set(keys(job.output))) == 64
    assert len(billed(server.options.log)) - paid <= 64 + 2
    assert dataset_status(job.output).succeeded == 64


async def test_what_a_killed_shard_had_received_is_found_under_another_n(
    tmp_path: Path, start_standin: START_STANDIN
) -> None:
    """Whoever covers its items, with another N or with none, brings its answers in and asks for the rest alone."""
    server = start_standin(latency_s=(0.005, 0.02))
    assert server.options.log is not None
    job = make_job(tmp_path, server.url, images=24)
    kill_amid(job, server, "1/2")
    assert not list_parts(job.output, Kind.RESULTS)
    assert await run(job, "1/3") == [0]
    assert len(keys(job.output)) >= 2 + sum(Shard(1, 3).holds(one) and not Shard(1, 2).holds(one) for one in job.ids)
    assert not (job.output / "_state" / "shards" / "1-of-2").exists()
    kill_amid(job, server, "2/3")
    assert await run(job, None) == [0]
    assert sorted(item_id for item_id, _ in keys(job.output)) == list(job.ids)
    assert len(billed(server.options.log)) <= 24 + 2
    asked = len(answers(server.options.log))
    assert await run(job, "1/2", "2/2") == [0, 0]
    assert await run(job, "3/8") == [0]
    assert len(answers(server.options.log)) == asked


@pytest.mark.parametrize(("held", "wanted"), [("1/2", "1/4"), ("1/2", "1/2"), ("1/2", None), (None, "1/2")])
async def test_runs_that_share_items_never_go_at_once(
    tmp_path: Path, start_standin: START_STANDIN, held: str | None, wanted: str | None
) -> None:
    """Another N, the same shard, a run without shards: refused with 75, and nothing is asked."""
    server = start_standin()
    assert server.options.log is not None
    job = make_job(tmp_path, server.url, images=2)
    shard = Shard(*map(int, held.split("/"))) if held else None
    with open_dataset(DatasetSettings(job.output, shard=shard)), pytest.raises(ExceptionGroup) as caught:
        await run(job, wanted)
    (error,) = caught.value.exceptions
    assert isinstance(error, OutputHeldError)
    assert error.exit_code == 75
    assert str(job.output) in str(error)
    assert answers(server.options.log) == []
