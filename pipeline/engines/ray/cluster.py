"""`--engine ray`: the manifest's shards as tasks of a Ray cluster, one office for limits, counters and log lines.

::

    driver ──order──> office <──beats, leases──> workers, one shard each ──> the dataset
       └─────────────── tasks ───────────────────────┘

The cluster is the one that `RAY_ADDRESS` names; without it one is begun on this machine and ended with the run. Ray
starts workers, adds nodes where it scales by itself, and begins the task of a killed worker anew; what a shard holds by
then is what its own restart finds (see `store/shards`). The driver holds the output together with its shards, so that
no run without shards comes between. A driver that is killed takes office and workers with it: Ray ends the tasks of a
job that is gone.

Secrets reach the workers in one call to the office, and from there as answers, over the connections between processes:
they are in no runtime environment, no task's description or name and no file of Ray's. A cluster that the run begins
itself is begun without the variables that hold them. `ray://` addresses are refused: the driver is part of the cluster.
"""

import json
import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import ray
from anyio import to_thread
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import effective
from pipeline.engines.control import RunControl, Stop, watch_deadline, watch_signals
from pipeline.engines.job import LiveRun, RunOptions, View, new_run_id
from pipeline.engines.messages import BUDGET_REACHED
from pipeline.engines.plan import RunPlan
from pipeline.engines.ray.gathering import GatheredPace, summed
from pipeline.engines.ray.office import Order
from pipeline.engines.ray.session import (
    NAMESPACE,
    SHARDS,
    asked_shards,
    cluster,
    plain,
    secrets_for_workers,
    shard_count,
)
from pipeline.engines.ray.worker import ShardEnd, office_actor, shard_task, survey_task
from pipeline.engines.selection import chosen_part
from pipeline.engines.summary import RunSummary, summarise
from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError, OutputError, OutputHeldError, PipelineError, RunStoppedError
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.size import rows_hint
from pipeline.store.lock import OutputLock
from pipeline.store.parts import list_parts, write_whole
from pipeline.store.places import shards_folder, state_folder
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

__all__ = ["run_on_ray"]

logger = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.3
_GRACE_S = 15.0
"""Beside the drain: for the parts of drained workers to be written, and for beats to be heard."""
_AT_ONCE_S = 5.0
_ERRORS = {2: ConfigError, 3: RunStoppedError, 75: OutputHeldError}


def run_on_ray(plan: RunPlan, options: RunOptions, view: View | None = None) -> RunSummary:
    """Runs a plan on a cluster.

    Raises:
        PipelineError: nothing was sent; `exit_code` says what kind of fault it is.
    """
    _check(plan, options)
    asked = asked_shards(os.environ.get(SHARDS, ""))
    with ExitStack() as stack:
        manifest = stack.enter_context(open_manifest(plan.manifest))
        plan.templates(manifest)
        whole = chosen_part(plan.manifest, options.choice)
        try:
            state = state_folder(plan.dataset.output)
            stack.enter_context(OutputLock(state / "lock", shared=True))
            stack.enter_context(OutputLock(state / "ray.lock"))
        except OSError as error:
            raise OutputError(f"{plan.dataset.output}: output.path cannot be written: {error.strerror}") from error
        secrets = secrets_for_workers(plan)
        cpus = stack.enter_context(cluster(secrets))
        run_id, began = new_run_id(datetime.now(UTC)), datetime.now(UTC)
        order = Order(
            run_id=run_id,
            config=plan.config,
            keys=secrets,
            choice=replace(options.choice, whole=whole),
            accept_new_fingerprint=options.accept_new_fingerprint,
            folder=str(Path.cwd()),
            cores=1,
            version=version("pipeline"),
        )
        count = asked or shard_count(plan, cpus)
        logger.info("%d shards on a Ray cluster of %d CPUs", count, cpus)
        driver = _Driver(plan, order, [Shard(number, count) for number in range(1, count + 1)])
        summary = anyio.run(driver.run, options, view)
        if driver.wrote:
            _write_run(plan, driver, began, summary)
        return summary


@dataclass(slots=True)
class _Driver:
    """One run as its driver sees it."""

    plan: RunPlan
    order: Order
    shards: list[Shard]
    totals: Totals = field(default_factory=Totals)
    pace: GatheredPace = field(default_factory=GatheredPace)
    attempts: dict[int, tuple[str, ...]] = field(default_factory=dict)
    ends: list[ShardEnd] = field(default_factory=list)
    office: Any = None
    wrote: bool = False

    async def run(self, options: RunOptions, view: View | None) -> RunSummary:
        """The run from its office to its summary."""
        control = RunControl(self.plan.config.retry.drain_seconds)
        started = time.monotonic()
        async with anyio.create_task_group() as watchers:
            if options.signals:
                await watchers.start(watch_signals, control)
            if options.max_runtime_s is not None:
                watchers.start_soon(watch_deadline, control, options.max_runtime_s)
            error = await self._work(control, view)
            watchers.cancel_scope.cancel()
        if error is not None and not self.totals.sent:
            raise error
        seconds = time.monotonic() - started
        name = (self.order.run_id, self.plan.fingerprint)
        return summarise(self.plan.config, self.totals, control.stop, seconds, name=name)

    async def _work(self, control: RunControl, view: View | None) -> PipelineError | None:
        """The office's life; the error that ended the run before anything was sent."""
        here = ray.get_runtime_context().get_node_id()
        place = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        named = {"name": f"pipeline-{self.order.run_id}", "namespace": NAMESPACE, "scheduling_strategy": place}
        self.office = office_actor().options(**named).remote(len(self.shards))
        error: PipelineError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_on)
            tasks.start_soon(self._pass_on, control)
            if view is not None:
                rows = await to_thread.run_sync(rows_hint, self.plan.manifest)
                rows = _expected(rows, self.order)
                tasks.start_soon(view, LiveRun(self.order.run_id, self.plan, self.totals, self.pace, rows))
            with control.everything:
                error = await self._survey(control)
                if error is None and control.stop is None:
                    error = await self._shards(control)
            if control.everything.cancel_called:
                await self._end_at_once(control)
            with anyio.CancelScope(shield=True), anyio.move_on_after(_AT_ONCE_S):
                await self._look(last=True)
            tasks.cancel_scope.cancel()
        if error is not None and self.totals.sent:
            control.end_with(error, sent=True)
        return error

    async def _survey(self, control: RunControl) -> PipelineError | None:
        """Before anything is sent: every shard can be opened, and nothing is paid for again without leave."""
        output = self.plan.dataset.output
        if not any(list_parts(output, kind) for kind in Kind) and not shards_folder(output).is_dir():
            return None
        task, found = survey_task(), []
        refs = [task.options(name=f"survey {shard}").remote(self.office, shard) for shard in self.shards]
        with control.intake():
            found = [await _awaited(ref) for ref in refs]
        wrong = [(shard, end) for shard, end in zip(self.shards, found, strict=False) if end.is_error]
        return _error(wrong[0][1], f"shard {wrong[0][0]}: ") if wrong else None

    async def _shards(self, control: RunControl) -> PipelineError | None:
        task, errors = shard_task(), []

        async def one(shard: Shard) -> None:
            end = await _awaited(task.options(name=f"shard {shard}").remote(self.office, shard))
            if end is None:
                return
            self.ends.append(end)
            self.wrote |= end.wrote
            if end.totals is not None:
                await self._told("settled", shard.index, end.totals)
            if end.is_error:
                errors.append(_error(end))
            if end.is_error or end.exit_code == 3 or (end.exit_code in (1, 4) and end.reason is not None):
                reason = BUDGET_REACHED if end.exit_code == 4 else f"shard {shard}: {end.reason}"
                control.end(end.exit_code, reason)

        async with anyio.create_task_group() as tasks:
            for shard in self.shards:
                tasks.start_soon(one, shard)
        return errors[0] if errors else None

    async def _look_on(self) -> None:
        while True:
            await self._look()
            await anyio.sleep(_LOOK_EVERY_S)

    async def _look(self, *, last: bool = False) -> None:
        """Counters, the pace and log lines of all workers; an office that has no order gets it."""
        found = await self._told("look")
        if found is None:
            return
        if not found.is_ready and not last:
            await self._told("entrust", self.order, self.attempts)
            return
        summed([found.totals], into=self.totals)
        self.pace.parts, self.attempts = found.paces, found.attempts
        for where, line in found.lines:
            line.repeat(where)

    async def _pass_on(self, control: RunControl) -> None:
        """Tells the office when the run is to end, until it has heard; the office tells the workers."""
        await control.stopping.wait()
        deadline = anyio.current_time() + control.drain_seconds + _GRACE_S
        while anyio.current_time() < deadline:
            if control.stop is not None and await self._told("stopped") != control.stop:
                await self._told("stop", control.stop, at_once=False)
            await anyio.sleep(_LOOK_EVERY_S)
        control.everything.cancel()

    async def _end_at_once(self, control: RunControl) -> None:
        """A second signal, or a drain that took too long: workers are told, and a moment is left to them."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_AT_ONCE_S):
            await self._told("stop", control.stop or Stop(1, "ended"), at_once=True)
            while self.pace.parts:
                await self._look()
                await anyio.sleep(_LOOK_EVERY_S)

    async def _told(self, call: str, *arguments: Any, **options: Any) -> Any:
        """What the office answers, `None` while it is not to be reached."""
        try:
            return await getattr(self.office, call).remote(*arguments, **options)
        except RayError as error:
            logger.debug("the office: %s: %s", call, error)
            return None


async def _awaited(ref: Any) -> Any:
    """What a task came to; one that Ray gives up on is an error of the run's."""
    try:
        return await ref
    except RayError as error:
        last = plain(str(error)).strip().rpartition("\n")[2]  # above it stands where it happened
        return ShardEnd(None, 1, f"Ray gave up on it: {last}", is_error=True)


def _error(end: ShardEnd, where: str = "") -> PipelineError:
    kind = _ERRORS.get(end.exit_code, PipelineError)
    return kind(f"{where}{end.reason}")


def _check(plan: RunPlan, options: RunOptions) -> None:
    """What does not go with this engine.

    Raises:
        ConfigError: names it, and the remedy.
    """
    if options.choice.shard is not None:
        raise ConfigError("--shard: --engine ray cuts the manifest into shards itself; leave one of them away")
    if plan.manifest.path == "-":
        raise ConfigError('manifest.path: found "-"; allowed with --engine ray: a file, folder or URL on every node')
    if plan.config.api.mode != "messages":
        raise ConfigError(
            f'api.mode: found "{plan.config.api.mode}"; allowed with --engine ray: "messages"; for batches one machine '
            "is enough, or several runs with --shard I/N"
        )
    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        raise ConfigError("RAY_ADDRESS: found ray://; allowed: HOST:PORT of the cluster, from one of its nodes")


def _expected(rows: int | None, order: Order) -> int | None:
    choice = order.choice
    if rows is None:
        return None
    return min([rows, *(count for count in (choice.sample, choice.limit) if count is not None)])


def _write_run(plan: RunPlan, driver: _Driver, began: datetime, summary: RunSummary) -> None:
    """The run's own file beside those of its workers."""
    place = plan.dataset.output / "runs"
    note = {
        "run_id": summary.run_id,
        "fingerprint": plan.fingerprint,
        "engine": "ray",
        "started_at": began.isoformat(),
        "ended_at": datetime.now(UTC).isoformat(),
        "config": effective(plan.config),
        "workers": {str(shard): list(runs) for shard, runs in sorted(driver.attempts.items())},
        "versions": {name: version(name) for name in ("pipeline", "ray")},
        **summary.as_dict(),
    }
    try:
        place.mkdir(exist_ok=True)
        write_whole(place / f"{summary.run_id}.json", json.dumps(note, indent=2).encode())
    except OSError as error:
        logger.error("%s: the run's own file cannot be written: %s", place, error)  # noqa: TRY400 - no traceback
