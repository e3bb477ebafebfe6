"""What runs in the processes of a Ray cluster: the office as an actor, and a shard as a task."""

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import anyio
import ray
from ray.exceptions import RayError

from pipeline.engines.control import RunControl
from pipeline.engines.job import LiveRun, RunOptions, run_job
from pipeline.engines.leave import ensure_leave
from pipeline.engines.opened import WorkerPart
from pipeline.engines.plan import RunPlan, plan_run
from pipeline.engines.ray.gathering import LogBuffer, with_earlier
from pipeline.engines.ray.lessee import Lessee, snapshot
from pipeline.engines.ray.office import Answer, Beat, Joined, Office, Order
from pipeline.engines.selection import chosen_part
from pipeline.engines.summary import RunSummary
from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError, OutputHeldError, PipelineError, first_error
from pipeline.store.dataset import open_dataset
from pipeline.store.shards import Shard

__all__ = ["ShardEnd", "office_actor", "shard_task", "survey_task"]

logger = logging.getLogger(__name__)
_ORDER_S = 60.0
_HELD_S = 30.0
"""Workers of a driver that was killed end within moments; their locks are waited for so long."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a shard's run ended.

    Attributes:
        totals: its counters, those of killed workers included; `None` where it did not begin.
        exit_code: of the run, or of the error that ended it.
        reason: why it ended early, or the error; `None` where it came to its end.
        is_error: whether an error ended it before it began.
        wrote: whether it wrote anything.
    """

    totals: Totals | None
    exit_code: int
    reason: str | None
    is_error: bool = False
    wrote: bool = False


def office_actor() -> Any:
    """The office as an actor class: begun anew where its process dies, its calls answered one by one."""
    return ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0)(Office)


def shard_task() -> Any:
    """`run_shard` as a task: begun anew, on whatever node, as often as its worker dies."""
    return ray.remote(num_cpus=1, max_retries=-1, retry_exceptions=False)(run_shard)


def survey_task() -> Any:
    """`survey_shard` as a task."""
    return ray.remote(num_cpus=1, max_retries=5, retry_exceptions=False)(survey_shard)


def survey_shard(office: Any, shard: Shard) -> ShardEnd:
    """Opens a shard before anything is sent: brings in what was left, and finds what would be paid for again."""

    def survey() -> ShardEnd:
        order = _order(office)
        with _at_work(order):
            plan, choice = _plan(order), replace(order.choice, shard=(shard.index, shard.of))
            mine = replace(plan, dataset=replace(plan.dataset, shard=shard))
            with open_dataset(mine.dataset) as journal:
                part = chosen_part(mine.manifest, choice)
                ensure_leave(mine, part, journal, given=order.accept_new_fingerprint)
        return ShardEnd(None, 0, None)

    return _guarded(lambda: _patiently(survey))


def run_shard(office: Any, shard: Shard) -> ShardEnd | None:
    """Runs a shard to its end; `None` where the run was ended before it began."""

    def run() -> ShardEnd | None:
        _order(office)
        joined = ray.get(office.join.remote(shard.index))
        return None if joined is None else _run(office, shard, joined)

    return _guarded(run)


def _run(office: Any, shard: Shard, joined: Joined) -> ShardEnd:
    order, lines = joined.order, LogBuffer()
    with _at_work(order, lines):
        plan = _plan(order)
        lessee = Lessee(partial(_tell, office, shard.index), partial(_lost, office), lines)
        try:
            summary = _patiently(lambda: anyio.run(_caption, plan, shard, joined, lessee))
        finally:
            office.leave.remote(shard.index, joined.run_id, lessee.spent_usd, lines.fetch())
    last = snapshot(lessee.totals)
    wrote = last.sent > 0 or last.total - last.skipped - last.pending > 0
    totals = with_earlier(last, lessee.earlier, again=order.choice.retry_failed)
    return ShardEnd(totals, summary.exit_code, summary.reason, wrote=wrote or bool(lessee.earlier))


async def _caption(plan: RunPlan, shard: Shard, joined: Joined, lessee: Lessee) -> RunSummary:
    """The shard's run, looked after by its lessee."""
    order = joined.order
    lessee.control = control = RunControl(plan.config.retry.drain_seconds)

    async def view(live: LiveRun) -> None:
        await lessee.settle(live, shard, joined.earlier)
        await lessee.renew(live)

    options = RunOptions(
        choice=replace(order.choice, shard=(shard.index, shard.of)),
        accept_new_fingerprint=order.accept_new_fingerprint,
        signals=False,
        part=WorkerPart(joined.run_id, control, order.cores),
    )
    return await run_job(plan, options, view)


async def _tell(office: Any, shard: int, beat: Beat) -> Answer | None:
    answer: Answer | None = await _reached(office.beat.remote(shard, beat))
    return answer


async def _lost(office: Any, run_id: str, spent_usd: float, open_requests: int) -> None:
    await _reached(office.lost.remote(run_id, spent_usd, open_requests))


async def _reached(ref: Any) -> Any:
    """The answer of the office, `None` where it is not to be reached."""
    try:
        return await ref
    except RayError:
        return None


def _order(office: Any) -> Order:
    """The run's order; a new office gets it from the driver within moments.

    Raises:
        RuntimeError: it never came.
    """
    end = time.monotonic() + _ORDER_S
    while time.monotonic() < end:
        try:
            order: Order | None = ray.get(office.order.remote())
        except RayError:
            order = None
        if order is not None:
            return order
        time.sleep(0.1)
    raise RuntimeError("the driver is gone")


def _plan(order: Order) -> RunPlan:
    here = version("pipeline")
    if here != order.version:
        raise ConfigError(f"--engine ray: a node has pipeline {here}, the driver {order.version}; install the same")
    return plan_run(order.config, order.keys)


@contextmanager
def _at_work(order: Order, lines: LogBuffer | None = None) -> Iterator[None]:
    """This process in the driver's working directory, its log going to `lines` and nowhere else."""
    try:
        os.chdir(order.folder)
    except OSError as error:
        raise ConfigError(
            f"--engine ray: {order.folder}: the working directory is not on every node ({error.strerror}); start from "
            "a file system that all share"
        ) from None
    handler: logging.Handler = lines if lines is not None else logging.NullHandler()
    ours, everything = logging.getLogger("pipeline"), logging.getLogger()
    ours.propagate = False
    ours.setLevel(logging.INFO)
    for each in (ours, everything):
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in (ours, everything):
            each.removeHandler(handler)


def _patiently(attempt: Callable[[], Found]) -> Found:
    """Tries anew for a while where another process holds the shard: a killed driver's workers are about to end."""
    end = time.monotonic() + _HELD_S
    while True:
        try:
            return attempt()
        except OutputHeldError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _guarded(work: Callable[[], Found]) -> Found | ShardEnd:
    """What the work comes to; an error of ours is an end like others, and any other is told without its secrets."""
    try:
        return work()
    except PipelineError as error:
        return ShardEnd(None, error.exit_code, str(error), is_error=True)
    except Exception as error:  # noqa: BLE001 - a fault of this program: Ray would write it into files of its own
        fault = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        trace = fault.__traceback__ or error.__traceback__  # what was unpickled has none of its own
        place = " ".join(traceback.format_tb(trace)[-1].split())
        return ShardEnd(None, 1, f"unexpected fault in a worker: {fault!r} at {place}", is_error=True)
