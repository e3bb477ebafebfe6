"""`pipeline check`: configuration, manifest and a sample of its images, judged without sending anything.

With `online` the free `GET /v1/models` is asked too: whether the key is taken and the model is there.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from anyio import to_thread

from pipeline.api.messages import parse_error
from pipeline.api.transport import Unanswered, open_session
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import Preparer
from pipeline.engines.summary import allowed_failures
from pipeline.errors import ItemError, PipelineError
from pipeline.images.sources import ImageSource
from pipeline.manifest.producer import Manifest, open_manifest
from pipeline.records import Item
from pipeline.store.journal import item_key

__all__ = ["CheckReport", "run_check"]

SAMPLE_ITEMS = 20
MOST_ROWS = 100_000


@dataclass(slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        problems: what would stop a run, or fail more items than it may; one line each.
        remarks: what works and should be known.
        rows: rows that were read, at most `MOST_ROWS`.
        images: images that were prepared as a run would.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    rows: int = 0
    images: int = 0


async def run_check(plan: RunPlan, *, online: bool = False) -> CheckReport:
    """Checks a plan; never raises for what it is there to find."""
    report = CheckReport(remarks=list(plan.remarks))
    _check_output(plan.dataset.output, report)
    try:
        with await to_thread.run_sync(open_manifest, plan.manifest) as manifest:
            await _check_items(plan, manifest, report)
    except PipelineError as error:
        report.problems.append(str(error))
    if online and not plan.is_embedded:
        await _ask_models(plan, report)
    return report


def _check_output(output: Path, report: CheckReport) -> None:
    nearest = next(place for place in (output, *output.absolute().parents) if place.exists())
    if not nearest.is_dir():
        report.problems.append(f"output.path: {nearest} is not a directory")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        report.problems.append(f"output.path: no permission to write in {nearest}")


async def _check_items(plan: RunPlan, manifest: Manifest, report: CheckReport) -> None:
    """Reads rows, and prepares the first `SAMPLE_ITEMS` items as a run would."""
    templates = plan.templates(manifest)
    faults: list[str] = []
    async with ImageSource(plan.sources(manifest)) as source:
        preparer = Preparer(source, plan.images, templates, plan.config.prompt, 2, plan.model.max_images)
        batches = manifest.batches()
        while report.rows < MOST_ROWS and (batch := await to_thread.run_sync(next, batches, None)) is not None:
            for item in batch[: max(0, SAMPLE_ITEMS - report.rows)]:
                faults += await _try(preparer, item, report)
            faults += [str(item.problem) for item in batch[SAMPLE_ITEMS:] if item.problem is not None]
            report.rows += len(batch)
    if len(faults) > allowed_failures(plan.config.limits.max_failures, report.rows):
        report.problems += faults
    else:
        report.remarks += faults


async def _try(preparer: Preparer, item: Item, report: CheckReport) -> list[str]:
    try:
        ready = await preparer.prepare(item_key(item.item_id), item)
    except ItemError as error:
        return [f"{item.item_id[:100]}: {error.error_type}: {error}"]
    report.images += len(ready.images)
    report.remarks += [
        f"{item.item_id[:100]}: {image.record.source}: {warning}"
        for image in ready.images
        for warning in image.record.warnings
    ]
    return []


async def _ask_models(plan: RunPlan, report: CheckReport) -> None:
    """Asks whether the service knows the model; a server without `/v1/models` is no problem."""
    try:
        async with open_session(plan.endpoint(plan.config.api.base_url), 2) as session:
            reply = await session.get(f"/v1/models/{quote(plan.config.api.model, safe='')}")
    except (Unanswered, PipelineError) as error:
        report.problems.append(f"api.base_url: {error}")
        return
    if reply.status == 200:
        report.remarks.append(_lifecycle(plan.config.api.model, reply.body))
    elif reply.status in (404, 405) and parse_error(reply.body, reply.status).error_type != "not_found_error":
        report.remarks.append("the server has no list of models, so the model was not looked up")
    else:
        said = parse_error(reply.body, reply.status)
        report.problems.append(f"GET /v1/models: HTTP {reply.status}: {said.error_type}: {said.message}")


def _lifecycle(name: str, raw: bytes) -> str:
    try:
        said = json.loads(raw)
        state = said.get("lifecycle") if isinstance(said, dict) else None
    except ValueError:
        state = None
    return f"api.model: {name} is served{f', lifecycle {state}' if isinstance(state, str) else ''}"
