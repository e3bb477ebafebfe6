"""One run from its plan to its summary: opens everything in order, runs the engine, closes everything in order.

The order is that of money: what can be found wrong is found before anything is sent (manifest, templates, output,
lock, leave to re-bill), and what was received is in its place before the lock is let go.
"""

import json
import logging
import platform
import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import anyio
from anyio import to_thread

from pipeline.config import effective
from pipeline.engines.control import RunControl, watch_deadline, watch_drain, watch_signals
from pipeline.engines.descriptors import ensure_descriptors
from pipeline.engines.leave import ensure_leave
from pipeline.engines.opened import OpenRun, RunOptions
from pipeline.engines.plan import RunPlan
from pipeline.engines.selection import Choice, chosen_part
from pipeline.engines.staging import open_stages
from pipeline.engines.summary import RunSummary, summarise
from pipeline.engines.totals import Totals
from pipeline.errors import PipelineError, first_error
from pipeline.limits.pacer import PaceStatistics
from pipeline.manifest.allocator import system_memory
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.size import rows_hint
from pipeline.store.batches import count_items, has_leftovers, tidy
from pipeline.store.dataset import open_dataset
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger, RunIdentity, open_ledger
from pipeline.store.parts import write_whole
from pipeline.store.shards import Shard

__all__ = ["LiveRun", "Paced", "RunOptions", "View", "new_run_id", "run_job"]

logger = logging.getLogger(__name__)


class Paced(Protocol):
    """What tells how a run is paced."""

    def statistics(self) -> PaceStatistics:
        """How it is paced now."""


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as a view may look at it while it goes.

    Attributes:
        rows: about how many rows the manifest has, `None` where only reading it would tell.
    """

    run_id: str
    plan: RunPlan
    totals: Totals
    pacer: Paced
    rows: int | None
    started: float = field(default_factory=time.monotonic)


View = Callable[[LiveRun], Coroutine[Any, Any, None]]


async def run_job(plan: RunPlan, options: RunOptions, view: View | None = None) -> RunSummary:
    """Runs a plan.

    Raises:
        PipelineError: nothing was sent; `exit_code` says what kind of fault it is.
    """
    if options.choice.shard is not None:
        plan = replace(plan, dataset=replace(plan.dataset, shard=Shard(*options.choice.shard)))
    control = options.part.control if options.part is not None else RunControl(plan.config.retry.drain_seconds)
    outcome: RunSummary | PipelineError
    async with anyio.create_task_group() as watchers:
        if options.signals:
            await watchers.start(watch_signals, control)
        if options.max_runtime_s is not None:
            watchers.start_soon(watch_deadline, control, options.max_runtime_s)
        watchers.start_soon(watch_drain, control)
        try:
            outcome = await _open(plan, options, control, view)
        except PipelineError as error:
            outcome = error
        watchers.cancel_scope.cancel()
    if isinstance(outcome, PipelineError):
        raise outcome
    return outcome


async def _open(plan: RunPlan, options: RunOptions, control: RunControl, view: View | None) -> RunSummary:
    with ExitStack() as stack:
        stack.enter_context(system_memory())
        manifest = stack.enter_context(await to_thread.run_sync(open_manifest, plan.manifest))
        templates = plan.templates(manifest)
        part = await to_thread.run_sync(chosen_part, plan.manifest, options.choice)
        ensure_descriptors(plan.config.limits.concurrency)
        journal = stack.enter_context(open_dataset(plan.dataset))
        await to_thread.run_sync(_tidy, journal)
        given = options.accept_new_fingerprint
        await to_thread.run_sync(partial(ensure_leave, plan, part, journal, given=given))
        rows = _expected(await to_thread.run_sync(rows_hint, plan.manifest), options.choice)
        return await _run(OpenRun(plan, options, control, manifest, templates, part, journal, rows), view)


async def _run(opened: OpenRun, view: View | None) -> RunSummary:
    plan, control = opened.plan, opened.control
    totals, started, began = Totals(), time.monotonic(), datetime.now(UTC)
    run_id = opened.options.part.run_id if opened.options.part is not None else new_run_id(began)
    about = _about(opened, began)
    written = False
    try:
        async with open_ledger(
            opened.journal, plan.dataset, RunIdentity(run_id, plan.fingerprint, plan.data_schema, about)
        ) as ledger:
            async with open_stages(opened, ledger, totals) as (stages, run), anyio.create_task_group() as views:
                control.on_stop = stages.pacer.close
                if control.stop is not None:
                    stages.pacer.close()
                if view is not None:
                    views.start_soon(view, LiveRun(run_id, plan, totals, stages.pacer, opened.rows))
                await run(control)
                await _leave(opened, ledger, totals)
                views.cancel_scope.cancel()
            about["limit_waits_s"] = {name: round(waited, 3) for name, waited in stages.pacer.waits_s.items()}
            written = ledger.has_written
    except* PipelineError as group:
        control.end_with(first_error(group), sent=totals.sent > 0)
    summary = summarise(plan.config, totals, control.stop, time.monotonic() - started, name=(run_id, plan.fingerprint))
    if written:
        await to_thread.run_sync(_write_run, opened, about, summary)
    return summary


def new_run_id(began: datetime) -> str:
    """A name for a run that no other has."""
    return f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def _tidy(journal: Journal) -> None:
    """Lets go of what a run that was killed left of batches that it was building."""
    if has_leftovers(journal):
        with journal.transaction():
            tidy(journal)


async def _leave(opened: OpenRun, ledger: Ledger, totals: Totals) -> None:
    """Says what a run that came to its end leaves to the next one: what is in batches, or waits for one."""
    if totals.pending <= 0 or opened.control.stop is not None:
        return
    plan, place = opened.plan, opened.plan.config.api.base_url
    in_flight, waiting = await ledger.ask(lambda journal: count_items(journal, plan.fingerprint))
    here, _ = await ledger.ask(lambda journal: count_items(journal, plan.fingerprint, place))
    said = [f"{in_flight} items are in batches"] * bool(in_flight) + [f"{waiting} wait for one"] * bool(waiting)
    remedy = "run again to collect them"
    if here < in_flight:
        remedy = f"run again to collect them, {in_flight - here} of them with the api.base_url that they were sent to"
    if plan.config.api.mode == "messages":
        remedy = 'run with api.mode = "batches" to collect them, or have them canceled: pipeline batches CONFIG cancel'
    opened.control.leave(4, f"{' and '.join(said) or 'items are left'}; {remedy}")


def _expected(rows: int | None, choice: Choice) -> int | None:
    """About how many items the chosen part has."""
    if rows is None:
        return None
    if choice.shard is not None:
        rows //= choice.shard[1]
    return min([rows, *(count for count in (choice.sample, choice.limit) if count is not None)])


def _about(opened: OpenRun, began: datetime) -> dict[str, Any]:
    """What is known of a run when it begins, as `runs/*.json` keeps it."""
    packages = ("anyio", "httpx", "pillow", "pyarrow", "pipeline")
    return {
        "fingerprint": opened.plan.fingerprint,
        "started_at": began.isoformat(),
        "config": effective(opened.plan.config),
        "image_root": opened.plan.sources(opened.manifest).root_text,
        "options": {
            "limit": opened.options.choice.limit,
            "sample": opened.options.choice.sample,
            "shard": opened.options.choice.shard,
            "retry_failed": opened.options.choice.retry_failed,
            "only": opened.options.choice.only,
            "accept_new_fingerprint": opened.options.accept_new_fingerprint,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _write_run(opened: OpenRun, about: dict[str, Any], summary: RunSummary) -> None:
    """The run's file in `runs/`; a run that cannot write it is finished by the next start."""
    place = opened.plan.dataset.output / "runs"
    note = {"run_id": summary.run_id, **about, "ended_at": datetime.now(UTC).isoformat(), **summary.as_dict()}
    try:
        place.mkdir(exist_ok=True)
        write_whole(place / f"{summary.run_id}.json", json.dumps(note, indent=2).encode())
        opened.journal.begin()
        opened.journal.forget_run(summary.run_id)
        opened.journal.commit()
    except (OSError, sqlite3.Error) as error:
        logger.error("%s: the run's own file cannot be written: %s", place, error)  # noqa: TRY400 - no traceback
