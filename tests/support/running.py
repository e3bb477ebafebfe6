"""Whole runs in the test's own process."""

from typing import Any

import pyarrow as pa

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import RunPlan, plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from support.jobs import CANARY, Job

__all__ = ["KEY", "by_id", "plan_of", "run"]

KEY = {"ANTHROPIC_API_KEY": CANARY}


def plan_of(job: Job, *overrides: str) -> RunPlan:
    """The plan of a job."""
    return plan_run(job.config(*overrides), KEY)


async def run(job: Job, *overrides: str, accept: bool = False, **choice: Any) -> RunSummary:
    """One run of a job, without signals; `accept` gives leave to pay again under other settings."""
    options = RunOptions(Choice(**choice), accept_new_fingerprint=accept, signals=False)
    return await run_job(plan_of(job, *overrides), options)


def by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    """A table's rows by item."""
    return {row["item_id"]: row for row in table.to_pylist()}
