"""`pipeline check`: configuration, manifest and a sample of its images, judged without sending anything.

With `online` the free `GET /v1/models` is asked too: whether the key is taken and the model is there.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from anyio import to_thread

from pipeline.api.messages import parse_error
from pipeline.api.transport import Unanswered, open_session
from pipeline.engines.descriptors import ensure_descriptors
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import Preparer
from pipeline.engines.selection import Keyed, Part, chosen
from pipeline.engines.summary import allowed_failures
from pipeline.errors import ItemError, OutputError, PipelineError
from pipeline.images.sources import ImageSource
from pipeline.manifest.producer import Manifest, open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.store.buckets import BucketPath, Place

__all__ = ["MOST_ITEMS", "SAMPLE_ITEMS", "CheckReport", "run_check"]

SAMPLE_ITEMS = 20
"""Items whose images are prepared."""
MOST_ITEMS = 100_000
"""Items whose rows are read."""
_MOST_SHOWN = 50


@dataclass(slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        problems: what would stop a run, or fail more items than it may; one line each.
        remarks: what works and should be known.
        rows: items that were read, about `MOST_ITEMS` at most.
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
        ensure_descriptors(plan.config.limits.concurrency)
        with await to_thread.run_sync(open_manifest, plan.manifest) as manifest:
            await _check_items(plan, manifest, report)
    except PipelineError as error:
        report.problems.append(str(error))
    if online and not plan.is_embedded:
        await _ask_models(plan, report)
    return report


def _check_output(output: Place, report: CheckReport) -> None:
    try:
        if isinstance(output, BucketPath):
            output.is_dir()
            return
        nearest = next(place for place in (output, *output.parents) if place.exists())
    except OSError as error:
        report.problems.append(f"output.path: {output}: {error.strerror}")
        return
    except OutputError as error:
        report.problems.append(f"output.path: {error}")
        return
    if not nearest.is_dir():
        report.problems.append(f"output.path: {nearest} is not a directory")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        report.problems.append(f"output.path: no permission to write in {nearest}")


async def _check_items(plan: RunPlan, manifest: Manifest, report: CheckReport) -> None:
    """Reads rows, and prepares the first `SAMPLE_ITEMS` items as a run would."""
    templates = plan.templates(manifest)
    faults = _Faults()
    with TemporaryDirectory() as scratch, SeenItems(Path(scratch)) as seen:
        async with ImageSource(plan.sources(manifest)) as source, plan.decoders(2) as decoders:
            preparer = plan.preparer(source, templates, decoders)
            batches = chosen(manifest, seen, Part())
            while report.rows < MOST_ITEMS and (batch := await to_thread.run_sync(next, batches, None)) is not None:
                sampled = max(0, SAMPLE_ITEMS - report.rows)
                for keyed in batch[:sampled]:
                    await _try(preparer, keyed, report, faults)
                for _, item in batch[sampled:]:
                    if item.problem is not None:
                        faults.add(item.item_id, item.problem)
                report.rows += len(batch)
        if seen.duplicates:
            report.remarks.append(f"{seen.duplicates} rows stand twice and count once: {', '.join(seen.places)}")
    if report.rows >= MOST_ITEMS:
        report.remarks.append(f"only the first {report.rows:,} items were looked at")
    too_many = faults.count > allowed_failures(plan.config.limits.max_failures, report.rows)
    (report.problems if too_many else report.remarks).extend(faults.lines())


class _Faults:
    """What is wrong with items: the first ones word for word, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, item_id: str, error: ItemError) -> None:
        self.count += 1
        if self.count <= _MOST_SHOWN:
            self._first.append(f"{item_id[:100]}: {error.error_type}: {error}")

    def lines(self) -> Iterator[str]:
        yield from self._first
        if self.count > _MOST_SHOWN:
            yield f"and {self.count - _MOST_SHOWN:,} more items with a fault"


async def _try(preparer: Preparer, keyed: Keyed, report: CheckReport, faults: _Faults) -> None:
    key, item = keyed
    try:
        ready = await preparer.prepare(key, item)
    except ItemError as error:
        faults.add(item.item_id, error)
        return
    report.images += len(ready.images)
    report.remarks += [
        f"{item.item_id[:100]}: {image.record.source}: {warning}"
        for image in ready.images
        for warning in image.record.warnings
    ]


async def _ask_models(plan: RunPlan, report: CheckReport) -> None:
    """Asks whether the service knows the model; a server without `/v1/models` is no problem."""
    try:
        async with open_session(plan.endpoints()[0], 2) as session:
            reply = await session.get(f"/v1/models/{quote(plan.config.api.model, safe='')}")
    except (Unanswered, PipelineError) as error:
        report.problems.append(f"api.base_url: {error}")
        return
    if reply.status == 200:
        report.remarks.append(_lifecycle(plan.config.api.model, reply.body))
    elif reply.status == 405 or (reply.status == 404 and not _is_of_the_api(reply.body)):
        report.remarks.append("the server has no list of models, so the model was not looked up")
    else:
        said = parse_error(reply.body, reply.status)
        report.problems.append(f"GET /v1/models: HTTP {reply.status}: {said.error_type}: {said.message}")


def _is_of_the_api(raw: bytes) -> bool:
    """Whether a 404 says that there is no such model, and not that there is no such page."""
    error = _object(raw).get("error")
    return isinstance(error, dict) and error.get("type") == "not_found_error"


def _lifecycle(name: str, raw: bytes) -> str:
    state = _object(raw).get("lifecycle")
    return f"api.model: {name} is served{f', lifecycle {state}' if isinstance(state, str) else ''}"


def _object(raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
