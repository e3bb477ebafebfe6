"""What the batch engine works with, put together from what stands open."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from pipeline.api.batches import Batches
from pipeline.durations import parse_duration
from pipeline.engines.batches.bodies import clear_bodies
from pipeline.engines.batches.collecting import Collector
from pipeline.engines.batches.deadlines import switch_after_s
from pipeline.engines.batches.engine import BatchDesk
from pipeline.engines.batches.packing import Packer
from pipeline.engines.batches.parking import Parking
from pipeline.engines.batches.polling import Poller
from pipeline.engines.batches.submitting import Submitter
from pipeline.engines.captioning import Captioner
from pipeline.engines.carrying import Carrier
from pipeline.engines.intake import Stages
from pipeline.engines.opened import OpenRun
from pipeline.engines.selection import Keyed, chosen_rows
from pipeline.engines.tooling import ToolBox
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.store.batch_records import BatchItem, BatchRecord, Target
from pipeline.store.batches import batches_of, has_answers, held_keys
from pipeline.store.journal import Journal

__all__ = ["build_desk"]

_BODIES = "batches"


def build_desk(
    opened: OpenRun, stages: Stages, service: Batches, index: Journal, carrying: tuple[Carrier, ToolBox | None]
) -> BatchDesk:
    """The desk of one run.

    Args:
        opened: the run.
        stages: its stages.
        service: the account's batches.
        index: a connection to the journal that reads.
        carrying: how images reach the service, and what the model may call.
    """
    plan, config, ledger, pacer = opened.plan, opened.plan.config, stages.ledger, stages.pacer
    place, folder = config.api.base_url, plan.dataset.state / _BODIES
    clear_bodies(folder)
    in_flight = [record for record in batches_of(opened.journal) if record.target.place == place and record.intended_at]
    pacer.budget.reserve(sum(record.worst_usd for record in in_flight))
    waits, target = opened.options.wait, Target(place, plan.fingerprint, config.api.model)
    submitter = Submitter(service, ledger, pacer, config.api, config.retry, waits=waits)
    packer = Packer(ledger, target, folder, pacer.budget, submitter, waits=waits)
    parking, paid = Parking(), opened.journal.items_with_turns(plan.fingerprint)
    carrier, tools = carrying
    packing = Captioner(parking, ledger, plan, carrier, tools, warms=False)
    settling = Captioner(parking, ledger, plan, Carrier(carrier.preparer, None, falls_back=False), warms=False)
    for captioner in (packing, settling, stages.captioner):
        captioner.resumable = paid
    collector = Collector(service, ledger, plan, stages.totals, packer, settling)
    collector.paid, collector.belongs = paid, _belongs(opened, {record.number for record in in_flight})
    poller = Poller(service, place, collector, ledger, pacer, config.api, stages.totals)
    poller.creating, poller.forgets = submitter.creating, plan.is_embedded
    submitter.on_created = poller.wake
    switch_s = _switch_after_s(opened, in_flight)
    return BatchDesk(
        packer=packer,
        submitter=submitter,
        poller=poller,
        packing=packing,
        fingerprint=plan.fingerprint,
        place=place,
        paid=paid,
        again=None if plan.manifest.path == "-" else lambda: _waiting(opened, index),
        is_sampled=has_answers(opened.journal, plan.fingerprint),
        warms=plan.is_cached,
        waits=waits,
        switch_after_s=switch_s,
        switched=switch_s == 0,
    )


def _waiting(opened: OpenRun, index: Journal) -> Iterator[list[Keyed]]:
    """The items of the manifest's part that wait for the next batch."""
    plan = opened.plan
    with open_manifest(plan.manifest) as manifest, SeenItems(plan.dataset.state) as seen:
        for rows in chosen_rows(manifest, seen, opened.part):
            held = held_keys(index, rows.keys, plan.fingerprint)
            yield [rows.keyed(number) for number, key in enumerate(rows.keys) if held.get(key)]


def _belongs(opened: OpenRun, inherited: set[int]) -> Callable[[BatchItem], bool]:
    """Whether an item is one that the run counts: of the items in batches of earlier runs not every one may be.

    They are held against the manifest once; memory is that of the keys of those that are in it.
    """
    part, plan = opened.part, opened.plan
    if not inherited:
        return lambda _: True
    if plan.manifest.path == "-":
        return lambda item: part.holds(item.item_id)
    counted: set[bytes] = set()
    with open_manifest(plan.manifest) as manifest, SeenItems(plan.dataset.state) as seen:
        for rows in chosen_rows(manifest, seen, part):
            counted.update(held_keys(opened.journal, rows.keys, plan.fingerprint))
    return lambda item: item.batch not in inherited or item.key in counted


def _switch_after_s(opened: OpenRun, in_flight: list[BatchRecord]) -> float | None:
    api = opened.plan.config.api
    if api.mode != "auto" or api.deadline is None:
        return None
    now = datetime.now(UTC)
    began = min([now, *(record.intended_at for record in in_flight if record.intended_at is not None)])
    return switch_after_s(parse_duration(api.deadline), (now - began).total_seconds())
