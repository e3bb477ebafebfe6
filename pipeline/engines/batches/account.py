"""What a configuration has in flight at the Batches API: listed beside what the service says, and canceled.

Both read the journal and lock nothing, so they work while a run goes; what is canceled is collected by the next run.
"""

from dataclasses import dataclass

import anyio

from pipeline.api.batch_states import BatchState
from pipeline.api.batches import Batches
from pipeline.api.transport import open_session
from pipeline.engines.plan import RunPlan
from pipeline.errors import ConfigError
from pipeline.store.batch_records import BatchRecord
from pipeline.store.batches import batches_of
from pipeline.store.journal import Journal
from pipeline.store.places import JOURNAL

__all__ = ["InFlight", "cancel_batches", "list_batches"]


@dataclass(frozen=True, slots=True)
class InFlight:
    """A batch as the journal knows it, and as the service does; `None` for one that the service does not know."""

    record: BatchRecord
    state: BatchState | None


async def list_batches(plan: RunPlan) -> list[InFlight]:
    """The batches that were submitted and not collected, oldest first.

    Raises:
        ConfigError: the endpoint is the embedded one, whose batches go with each run.
        RunStoppedError: the service refuses, or does not answer.
    """
    return await _each(plan, cancel=False)


async def cancel_batches(plan: RunPlan) -> list[InFlight]:
    """Has them end early, and tells how they stand.

    Raises:
        ConfigError: as `list_batches`.
        RunStoppedError: as `list_batches`; what was canceled stays canceled.
    """
    return await _each(plan, cancel=True)


async def _each(plan: RunPlan, *, cancel: bool) -> list[InFlight]:
    if plan.is_embedded:
        raise ConfigError(
            'api.base_url: found "embedded", whose batches go with each run; allowed: a server\'s address'
        )
    place = plan.config.api.base_url
    found = []
    async with open_session(plan.endpoints()[0], 2) as session:
        service = Batches(session, place, plan.config.retry, anyio.sleep)
        for record in _records(plan, place):
            if record.batch_id is None:
                found.append(InFlight(record, None))
                continue
            state = await service.look(record.batch_id)
            if cancel and state is not None and state.status == "in_progress":
                state = await service.cancel(record.batch_id)
            found.append(InFlight(record, state))
    return found


def _records(plan: RunPlan, place: str) -> list[BatchRecord]:
    """What the journals of the dataset have in flight, those of its shards among them."""
    found = []
    for path in sorted(plan.dataset.state.glob(f"**/{JOURNAL}")):
        journal = Journal(path, read_only=True)
        try:
            found += [each for each in batches_of(journal) if each.target.place == place and each.intended_at]
        finally:
            journal.close()
    return found
