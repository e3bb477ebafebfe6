"""What a run stands on while it goes: sessions, sources, index and stages, opened in order and closed in reverse."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from anyio import to_thread

from pipeline.api.client import Client
from pipeline.api.files import FileUploader
from pipeline.api.transport import open_session
from pipeline.engines.captioning import Captioner
from pipeline.engines.carrying import Carrier
from pipeline.engines.changes import Changes
from pipeline.engines.control import RunControl
from pipeline.engines.messages import Stages
from pipeline.engines.plan import RunPlan
from pipeline.engines.selection import Choice, Part, Selection
from pipeline.engines.tooling import ToolBox
from pipeline.engines.totals import CountingRecorder, Totals
from pipeline.images.sources import ImageSource
from pipeline.limits.pacer import MOST_PLACES, Pacer
from pipeline.manifest.producer import Manifest
from pipeline.manifest.seen import SeenItems
from pipeline.prompts.templates import Templates
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer
from pipeline.store.answered import AnsweredImages
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger
from pipeline.store.recovery import state_folder
from pipeline.store.uploads import Uploads

__all__ = ["OpenRun", "RunOptions", "available_cores", "open_stages"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the configuration.

    Attributes:
        choice: which items.
        accept_new_fingerprint: whether items that were answered under other settings may be paid for again.
        max_runtime_s: the run ends in good order after so long.
        signals: whether SIGINT and SIGTERM end the run in good order; needs the main thread.
    """

    choice: Choice = field(default_factory=Choice)
    accept_new_fingerprint: bool = False
    max_runtime_s: float | None = None
    signals: bool = True


@dataclass(frozen=True, slots=True)
class OpenRun:
    """What stands open while a run goes."""

    plan: RunPlan
    options: RunOptions
    control: RunControl
    manifest: Manifest
    templates: Templates
    part: Part
    journal: Journal
    rows: int | None


@asynccontextmanager
async def open_stages(opened: OpenRun, ledger: Ledger, totals: Totals) -> AsyncIterator[Stages]:
    """The stages with what they stand on, opened in order."""
    plan, config = opened.plan, opened.plan.config
    async with AsyncExitStack() as stack:
        weights = [endpoint.weight for endpoint in config.api.endpoints or ()]
        pacer = Pacer(config.limits, weights=weights or [1.0], longest_wait_s=config.retry.max_wait_seconds)
        senders = config.limits.concurrency if isinstance(config.limits.concurrency, int) else MOST_PLACES
        embedded = stack.enter_context(_embedded(plan.dataset.output)) if plan.is_embedded else None
        endpoints = plan.endpoints(embedded)
        sessions = [await stack.enter_async_context(open_session(each, senders + 2)) for each in endpoints]
        source = await stack.enter_async_context(ImageSource(plan.sources(opened.manifest)))
        seen = stack.enter_context(SeenItems(state_folder(plan.dataset.output)))
        index = Journal(state_folder(plan.dataset.output) / "journal.sqlite", read_only=True)
        stack.callback(index.close)
        cores = available_cores()
        decoders = await stack.enter_async_context(plan.decoders(cores))
        preparer = plan.preparer(source, opened.templates, decoders)
        client = Client(sessions, pacer, CountingRecorder(ledger, totals), plan.model, config.retry)
        uploader = None
        if config.images.transport == "file":
            place = config.api.base_url if plan.is_embedded else endpoints[0].base_url
            uploader = FileUploader(sessions[0], Uploads(ledger, place), pacer, config.retry)
        carrier = Carrier(preparer, uploader, falls_back=config.images.transport_fallback)
        tools = ToolBox(plan.tools, preparer, plan.model.max_images) if plan.tools else None
        captioner = Captioner(client, ledger, plan, carrier, tools)
        captioner.resumable = opened.journal.items_with_turns(plan.fingerprint)
        changes = None
        if config.manifest.changed == "detect":
            state = state_folder(plan.dataset.output)
            answered = await to_thread.run_sync(AnsweredImages, plan.dataset.output, plan.fingerprint, state)
            changes = Changes(source, stack.enter_context(answered))
        choice = replace(opened.options.choice, detect=changes is not None)
        selection = Selection(index, plan.fingerprint, choice, totals)
        yield Stages(
            batches=selection.batches(opened.manifest, seen, opened.part),
            preparer=preparer,
            captioner=captioner,
            ledger=ledger,
            pacer=pacer,
            totals=totals,
            preparers=min(32, max(8, 4 * cores)),
            senders=senders,
            changes=changes,
        )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _embedded(output: Path) -> Iterator[str]:
    """The address of a stand-in of this run; its log stands in the dataset's state folder."""
    with StandinServer(StandinOptions(log=state_folder(output) / "standin.jsonl")) as server:
        yield server.url
