"""What a run stands on: opened for the engine that the configuration asks for, and closed again whatever happens."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Job, make_job
from support.running import plan_of
from support.standins import answers, read_log

from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages
from pipeline.engines.opened import OpenRun, RunOptions, WorkerPart
from pipeline.engines.selection import Choice, chosen_part
from pipeline.engines.staging import Engine, available_cores, open_stages
from pipeline.engines.totals import Totals
from pipeline.limits.pacer import MOST_PLACES
from pipeline.manifest.producer import open_manifest
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import open_ledger

pytestmark = pytest.mark.anyio
NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def staged(job: Job, *overrides: str, **options: Any) -> AsyncIterator[tuple[Stages, Engine, RunControl]]:
    """The stages of a job, its engine, and what ends it."""
    plan, control = plan_of(job, *overrides), RunControl(5.0)
    chosen = RunOptions(signals=False, **options)
    with open_manifest(plan.manifest) as manifest, open_dataset(plan.dataset) as journal:
        part = chosen_part(plan.manifest, chosen.choice)
        opened = OpenRun(plan, chosen, control, manifest, plan.templates(manifest), part, journal, None)
        async with (
            open_ledger(journal, plan.dataset, RunIdentity("run-1", plan.fingerprint)) as ledger,
            open_stages(opened, ledger, Totals()) as (stages, engine),
        ):
            yield stages, engine, control


def held(folder: Path) -> list[str]:
    """The files below a folder that this process holds open, and the threads of stand-ins that run."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the listing's own
            continue
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("standin")]
    return sorted(path for path in found if path.startswith(f"{folder}/")) + threads


async def test_the_engine_takes_every_wanted_item_to_its_end(tmp_path: Path, start_standin: Any) -> None:
    """A request for each, of the part that was chosen; the counters are those of the stages."""
    server = start_standin()
    job = make_job(tmp_path, server.url, 5)
    async with staged(job, choice=Choice(limit=3)) as (stages, engine, control):
        await engine(control)
        assert (stages.totals.succeeded, stages.totals.pending, control.stop) == (3, 0, None)
    assert len(answers(server.options.log)) == 3


async def test_the_mode_decides_how_items_are_sent(tmp_path: Path, start_standin: Any) -> None:
    """With batches they go in one, but for the first, a message that shows that the body is taken."""
    server = start_standin()
    job = make_job(tmp_path, server.url, 3, {"api": {"mode": "batches", "poll_seconds": 0.02}})
    async with staged(job) as (stages, engine, control):
        await engine(control)
        assert stages.totals.succeeded == 3
    events = [line["event"] for line in read_log(server.options.log)]
    assert (events.count("batch_created"), events.count("batch_request"), events.count("answer")) == (1, 2, 1)


@pytest.mark.parametrize(("concurrency", "senders"), [("7", 7), ('"auto"', MOST_PLACES)])
async def test_there_are_as_many_senders_as_may_be_in_flight(tmp_path: Path, concurrency: str, senders: int) -> None:
    """A number is taken as it is; where the run finds it out, there may be as many as ever."""
    async with staged(make_job(tmp_path, NOWHERE, 1), f"limits.concurrency={concurrency}") as (stages, _, _):
        assert stages.senders == senders


@pytest.mark.parametrize(("cores", "preparers"), [(1, 8), (3, 12), (100, 32)])
async def test_a_worker_prepares_on_the_cores_that_it_was_given(tmp_path: Path, cores: int, preparers: int) -> None:
    """Four at once for each, within bounds, whatever this machine has."""
    worker = WorkerPart("run-1", RunControl(5.0), cores)
    async with staged(make_job(tmp_path, NOWHERE, 1), part=worker) as (stages, _, _):
        assert stages.preparers == preparers


async def test_answers_are_looked_at_again_only_where_changes_are_wanted(tmp_path: Path) -> None:
    """`manifest.changed` costs a reading of all answers, so it is off by itself."""
    async with staged(make_job(tmp_path, NOWHERE, 1)) as (stages, _, _):
        assert stages.changes is None
    async with staged(make_job(tmp_path, NOWHERE, 1), 'manifest.changed="detect"') as (stages, _, _):
        assert stages.changes is not None


async def test_an_embedded_stand_in_lives_as_long_as_the_stages(tmp_path: Path) -> None:
    """It answers without an address, writes its log into the dataset's state, and ends with the block."""
    job = make_job(tmp_path, "embedded", 2)
    async with staged(job) as (stages, engine, control):
        assert [name for name in held(tmp_path) if name.startswith("standin")]
        await engine(control)
        assert stages.totals.succeeded == 2
    assert len(answers(job.output / "_state" / "standin.jsonl")) == 2
    assert held(tmp_path) == []


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_stays_open_behind_the_stages(tmp_path: Path, fails: bool) -> None:
    """Files, connections and threads are given back also where the block fails, and its error is what is heard."""
    job = make_job(tmp_path, "embedded", 2)

    async def whole() -> None:
        async with staged(job, 'manifest.changed="detect"') as (_, engine, control):
            await engine(control)
            assert [name for name in held(tmp_path) if "journal.sqlite" in name]
            if fails:
                _fail()

    if fails:
        with pytest.raises(ExceptionGroup) as caught:
            await whole()
        assert caught.group_contains(LookupError, match="out of order")
    else:
        await whole()
    assert held(tmp_path) == []


def _fail() -> None:
    raise LookupError("out of order")


def test_cores_are_those_that_this_process_may_use() -> None:
    """Not those of the machine: a container or a batch system may give one."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert available_cores() == len(before)
