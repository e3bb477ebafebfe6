"""What a run stands on while it goes: sessions, sources, index and stages, opened in order and closed in reverse."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import to_thread

from pipeline.api.batches import Batches
from pipeline.api.client import Client
from pipeline.api.files import FileUploader
from pipeline.api.transport import open_session
from pipeline.engines.batches.desk import build_desk
from pipeline.engines.batches.engine import run_batches
from pipeline.engines.captioning import Captioner
from pipeline.engines.carrying import Carrier
from pipeline.engines.changes import Changes
from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages
from pipeline.engines.messages import run_messages
from pipeline.engines.opened import OpenRun
from pipeline.engines.selection import Selection
from pipeline.engines.tooling import ToolBox
from pipeline.engines.totals import CountingRecorder, Totals
from pipeline.images.sources import ImageSource
from pipeline.limits.pacer import MOST_PLACES, Pacer
from pipeline.manifest.seen import SeenItems
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer
from pipeline.store.answered import AnsweredImages
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger
from pipeline.store.places import JOURNAL
from pipeline.store.uploads import Uploads

__all__ = ["Engine", "available_cores", "open_stages"]


Engine = Callable[[RunControl], Awaitable[None]]
"""Runs stages until everything is settled, or the run was ended and has drained."""


@asynccontextmanager
async def open_stages(opened: OpenRun, ledger: Ledger, totals: Totals) -> AsyncIterator[tuple[Stages, Engine]]:
    """The stages with what they stand on, opened in order, and the engine that runs them."""
    plan, config = opened.plan, opened.plan.config
    async with AsyncExitStack() as stack:
        weights = [endpoint.weight for endpoint in config.api.endpoints or ()]
        pacer = Pacer(
            config.limits,
            weights=weights or [1.0],
            longest_wait_s=config.retry.max_wait_seconds,
            leased=opened.options.part is not None,
        )
        senders = config.limits.concurrency if isinstance(config.limits.concurrency, int) else MOST_PLACES
        embedded = stack.enter_context(_embedded(plan.dataset.state)) if plan.is_embedded else None
        endpoints = plan.endpoints(embedded)
        sessions = [await stack.enter_async_context(open_session(each, senders + 2)) for each in endpoints]
        source = await stack.enter_async_context(ImageSource(plan.sources(opened.manifest)))
        seen = stack.enter_context(SeenItems(plan.dataset.state))
        index = Journal(plan.dataset.state / JOURNAL, read_only=True)
        stack.callback(index.close)
        cores = opened.options.part.cores if opened.options.part is not None else available_cores()
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
            state = plan.dataset.state
            answered = await to_thread.run_sync(AnsweredImages, plan.dataset.output, plan.fingerprint, state)
            changes = Changes(source, stack.enter_context(answered))
        choice = replace(opened.options.choice, detect=changes is not None)
        selection = Selection(index, plan.fingerprint, choice, totals)
        stages = Stages(
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
        if config.api.mode == "messages":
            yield stages, partial(run_messages, stages)
            return
        service = Batches(sessions[0], endpoints[0].base_url, config.retry, pacer.sleep)
        desk = build_desk(opened, stages, service, index, (carrier, tools))
        yield stages, partial(run_batches, stages, desk=desk)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _embedded(state: Path) -> Iterator[str]:
    """The address of a stand-in of this run; its log stands in the dataset's state folder."""
    with StandinServer(StandinOptions(log=state / "standin.jsonl")) as server:
        yield server.url
