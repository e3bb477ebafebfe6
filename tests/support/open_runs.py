"""Runs that stand open in the test's own process: their stages, with everything that they stand on, and no engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.engines.batches.engine import BatchDesk
from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages
from pipeline.engines.opened import OpenRun, RunOptions
from pipeline.engines.selection import Choice, chosen_part
from pipeline.engines.staging import open_stages
from pipeline.engines.totals import Totals
from pipeline.manifest.producer import open_manifest
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import open_ledger
from support.jobs import Job
from support.running import plan_of

__all__ = ["Standing", "open_run"]


@dataclass(frozen=True)
class Standing:
    """A run before its engine starts; `desk` is `None` where it asks through messages."""

    opened: OpenRun
    stages: Stages
    desk: BatchDesk | None

    @property
    def control(self) -> RunControl:
        """By which it is ended."""
        return self.opened.control


@asynccontextmanager
async def open_run(job: Job, *overrides: str, run_id: str = "run-open", **choice: Any) -> AsyncIterator[Standing]:
    """Opens a run of a job as the program does, up to its engine."""
    plan = plan_of(job, *overrides)
    options = RunOptions(Choice(**choice), signals=False)
    with open_manifest(plan.manifest) as manifest, open_dataset(plan.dataset) as journal:
        part = chosen_part(plan.manifest, options.choice)
        control = RunControl(5.0)
        opened = OpenRun(plan, options, control, manifest, plan.templates(manifest), part, journal, None)
        async with (
            open_ledger(journal, plan.dataset, RunIdentity(run_id, plan.fingerprint)) as ledger,
            open_stages(opened, ledger, Totals()) as (stages, engine),
        ):
            control.on_stop = stages.pacer.close
            yield Standing(opened, stages, getattr(engine, "keywords", {}).get("desk"))
