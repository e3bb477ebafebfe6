"""Whole runs whose dataset lies on an S3 server."""

import dataclasses
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pyarrow as pa
import pytest
from support.bad_bucket import BadBucket
from support.buckets import environment, filled_bucket
from support.jobs import CANARY, Job, make_job, pipeline_process, run_pipeline
from support.standins import answers, billed

from pipeline.commands.datasets import report_command, status_command
from pipeline.engines.checking import run_check
from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from pipeline.errors import OutputHeldError
from pipeline.exports.exporting import export
from pipeline.standin.server import StandinServer
from pipeline.store.buckets import BucketPath, place_of
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.schema import Kind

pytestmark = pytest.mark.anyio
START_STANDIN = Callable[..., StandinServer]
OWN = ["run_id", "request_id", "message_id", "created_at", "latency_ms", "started_at", "duration_ms"]
"""Columns in which two runs over the same items differ."""


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place on the server, and a machine of its own for this test."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-1"))
    return f"{filled_bucket(f'out-{uuid4().hex}', {})}/sets/cats"


def job_into(folder: Path, server: StandinServer, output: str, images: int = 12) -> Job:
    """A job whose output is this place."""
    return make_job(folder, server.url, images=images, settings={"output": {"path": output}})


async def run(job: Job, *overrides: str, shard: tuple[int, int] | None = None) -> RunSummary:
    """One run of a job in this process."""
    plan = plan_run(job.config(*overrides), {"ANTHROPIC_API_KEY": CANARY})
    return await run_job(plan, RunOptions(Choice(shard=shard), signals=False))


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows without what is each run's own, in order."""
    names = [name for name in OWN if name in table.column_names]
    return table.drop_columns(names).sort_by("item_id").to_pylist()


async def test_the_whole_output_equals_a_local_one(tmp_path: Path, start_standin: START_STANDIN, output: str) -> None:
    """Every table, row for row and type for type, the status, the report and an export."""
    server = start_standin()
    local = job_into(tmp_path, server, str(tmp_path / "local"))
    (tmp_path / "item-004.jpg").write_bytes(b"no picture")
    first = await run(local, "output.thumbnail_edge=32", "output.rows_per_file=5")
    remote = job_into(tmp_path, server, output)
    (tmp_path / "item-004.jpg").write_bytes(b"no picture")
    second = await run(remote, "output.thumbnail_edge=32", "output.rows_per_file=5")
    assert (second.items, second.exit_code, second.output) == (first.items, first.exit_code, output)
    for table in ({}, {"failures": True}, {"requests": True}):
        ours, theirs = read_results(output, **table), read_results(local.output, **table)
        assert ours.schema == theirs.schema
        assert rows(ours) == rows(theirs)
        assert len(ours)
    ours, theirs = dataset_status(output), dataset_status(local.output)
    assert [entry["items"] for entry in ours.runs] == [entry["items"] for entry in theirs.runs]
    assert dataclasses.replace(ours, output=Path(), runs=()) == dataclasses.replace(theirs, output=Path(), runs=())
    place = place_of(output)
    for kind in Kind:
        assert len(list_parts(place, kind)) == len(list_parts(local.output, kind))
    assert (await run(remote)).items["skipped"] == 12


async def test_every_command_reads_from_the_store(
    tmp_path: Path, start_standin: START_STANDIN, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check`, `status`, `report` and `export` take the URL, as the command line spells it; `compact` says why not."""
    job = job_into(tmp_path, start_standin(), output, images=3)
    given = Path(output)
    report = await run_check(plan_run(job.config(), {"ANTHROPIC_API_KEY": CANARY}))
    assert report.problems == []
    await run(job)
    assert status_command(given, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["items"]["succeeded"], told["output"]) == (3, output)
    assert report_command(given, None) == 0
    assert b"item-001" in (BucketPath.parse(output) / "report.html").read_bytes()
    assert export(place_of(given), "csv", tmp_path / "captions.csv") == 3
    refused = run_pipeline("compact", output)
    assert refused.returncode == 2
    assert "not merged" in refused.stderr
    assert not [name for name in os.listdir(tmp_path) if name.startswith("s3")]  # noqa: PTH208 - one look


def kill_amid(job: Job, server: StandinServer, count: int, *sets: str) -> None:
    """Kills a run of one request at a time once the server has answered so many more."""
    assert server.options.log is not None
    before = len(answers(server.options.log))
    words = [word for one in ("limits.concurrency=1", *sets) for word in ("--set", one)]
    process = pipeline_process("run", job.config_path, *words)
    while len(answers(server.options.log)) < before + count:
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()


def ids(output: str) -> list[str]:
    """The ids of the answers as they stand in the parts."""
    return sorted(read_results(output)["item_id"].to_pylist())


async def test_what_a_killed_run_had_received_is_kept_by_its_machine(
    tmp_path: Path, start_standin: START_STANDIN, output: str
) -> None:
    """The next run takes the lease at once, and asks again only what was in flight."""
    server = start_standin(latency_s=(0.005, 0.02))
    assert server.options.log is not None
    job = job_into(tmp_path, server, output)
    kill_amid(job, server, 5, "output.flush_seconds=3600")
    assert not list_parts(place_of(output), Kind.RESULTS)
    assert (await run(job)).exit_code == 0
    assert ids(output) == list(job.ids)
    assert len(billed(server.options.log)) <= 12 + 1


async def test_a_lost_machine_costs_what_it_had_not_put_and_may_come_back(
    tmp_path: Path, start_standin: START_STANDIN, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one knows what stands in parts; what the first still holds makes no second row, and its bill is kept."""
    server = start_standin(latency_s=(0.005, 0.02))
    assert server.options.log is not None
    job = job_into(tmp_path, server, output)
    kill_amid(job, server, 8, "output.rows_per_file=3", "output.flush_seconds=3600")
    kept = len(ids(output))
    assert 3 <= kept < 8
    before = len(billed(server.options.log))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-2"))
    with pytest.raises(OutputHeldError, match="another machine"):
        await run(job)
    (BucketPath.parse(output) / "_state" / "lock.json").unlink()  # its owner knows that it is dead
    summary = await run(job)
    assert summary.items["skipped"] == kept
    assert len(billed(server.options.log)) - before == 12 - kept
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-1"))
    assert (await run(job)).items["skipped"] == 12
    assert ids(output) == list(job.ids)
    paid = read_results(output, requests=True).to_pylist()
    known = {row["request_id"] for row in paid} - {None}
    assert len(known) >= len(billed(server.options.log)) - 1
    assert (await run(job)).items["skipped"] == 12


async def test_a_store_that_stumbles_costs_nothing(
    tmp_path: Path, start_standin: START_STANDIN, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503s, cut uploads and lost answers while parts are put: every item once, none asked twice."""
    server = start_standin()
    assert server.options.log is not None
    job = job_into(tmp_path, server, output)
    with BadBucket(environment()["AWS_ENDPOINT_URL"]) as bad:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bad.url)
        bad.slow_down, bad.cut, bad.unheard = 3, 3, 3
        assert (await run(job, "output.rows_per_file=4")).exit_code == 0
        assert (bad.slow_down, bad.cut, bad.unheard) == (0, 0, 0)
        assert ids(output) == list(job.ids)
        assert len(billed(server.options.log)) == 12


async def test_parts_that_no_listing_names_yet_are_known(
    tmp_path: Path, start_standin: START_STANDIN, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the machine that put them nor a new one asks anything again while listings lag."""
    server = start_standin()
    assert server.options.log is not None
    job = job_into(tmp_path, server, output)
    with BadBucket(environment()["AWS_ENDPOINT_URL"]) as bad:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bad.url)
        bad.lags = True
        assert (await run(job, "output.rows_per_file=4")).exit_code == 0
        assert not list_parts(place_of(output), Kind.RESULTS)
        for machine in ("machine-1", "machine-2"):
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
            assert (await run(job)).items["skipped"] == 12
        bad.lags = False
        assert ids(output) == list(job.ids)
    assert len(billed(server.options.log)) == 12


async def test_shards_share_an_output_in_a_store(tmp_path: Path, start_standin: START_STANDIN, output: str) -> None:
    """At the same time, and cut anew afterwards."""
    server = start_standin()
    assert server.options.log is not None
    job = job_into(tmp_path, server, output)
    async with anyio.create_task_group() as tasks:
        for index in (1, 2, 3):
            tasks.start_soon(partial(run, job, shard=(index, 3)))
    assert ids(output) == list(job.ids)
    for shard in ((1, 2), (2, 2), None):
        assert (await run(job, shard=shard)).items["pending"] == 0
    assert len(billed(server.options.log)) == 12
