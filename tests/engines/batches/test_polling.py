"""Batches in flight looked at: how often, and what is made of each kind of answer."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from anyio import to_thread, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from support.batch_runs import Bench, judged, standing
from support.open_runs import Standing, open_run

from pipeline.api.batches import Batches
from pipeline.api.transport import open_session
from pipeline.engines.batches.collecting import Collector
from pipeline.engines.batches.polling import Poller
from pipeline.errors import RunStoppedError
from pipeline.limits.pacer import Pacer
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchRecord
from pipeline.store.journal import Journal

pytestmark = pytest.mark.anyio
DAY_S = 86_400
LONG_AGO = datetime(2026, 1, 2, tzinfo=UTC)


class NotingPacer(Pacer):
    """Notes how long it was asked to wait, and goes on at once, after what is to happen at that wait."""

    slept: list[float]
    at: dict[int, Callable[[], None]]

    async def sleep(self, seconds: float) -> None:
        """No wait."""
        self.slept.append(seconds)
        await to_thread.run_sync(self.at.pop(len(self.slept), lambda: None))


@dataclass
class Looking:
    """A poller of a run that stands open."""

    run: Standing
    poller: Poller
    pacer: NotingPacer
    fingerprint: str = field(default="")

    async def ask(self, question: Callable[[Journal], object]) -> object:
        """Reads from the journal."""
        return await self.run.stages.ledger.ask(question)

    async def change(self, query: str, *values: object) -> None:
        """Changes what the journal knows of batches."""
        await self.run.stages.ledger.keep(lambda journal: journal.database.connection.execute(query, values))

    async def once(self) -> list[BatchRecord]:
        """One look; what is in flight after it."""
        await self.poller.once(self.run.control)
        return await self.poller.in_flight()

    async def counts(self) -> tuple[int, int]:
        """Items in flight, and items that wait for the next batch."""
        found = await self.ask(lambda journal: book.count_items(journal, self.fingerprint))
        assert isinstance(found, tuple)
        return found


@asynccontextmanager
async def looking(bench: Bench, *overrides: str) -> AsyncIterator[Looking]:
    """A poller over the bench's dataset and its server."""
    async with open_run(bench.job, *overrides) as run:
        plan, stages, desk = run.opened.plan, run.stages, run.desk
        assert desk is not None
        pacer = NotingPacer(plan.config.limits, budget=stages.pacer.budget)
        pacer.slept, pacer.at = [], {}
        async with open_session(plan.endpoints()[0], 2) as session:
            place = plan.config.api.base_url
            service = Batches(session, place, plan.config.retry, pacer.sleep)
            collector = Collector(service, stages.ledger, plan, stages.totals, desk.packer, desk.packing)
            collector.paid = desk.paid
            poller = Poller(service, place, collector, stages.ledger, pacer, plan.config.api, stages.totals)
            yield Looking(run, poller, pacer, plan.fingerprint)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Bench]:
    """A batch of three items that is in flight and does not go on by itself."""
    with standing(tmp_path, 4, {"retry": {"max_wait_seconds": 0.01, "max_attempts": 1}}, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        yield bench


def batch_id(bench: Bench) -> str:
    """The one batch that was created."""
    (line,) = bench.lines("batch_created")
    return str(line["batch_id"])


def let_go(bench: Bench) -> None:
    """Has the batch end, and waits for that."""
    bench.batches.hold(False)
    bench.ended(batch_id(bench))


async def test_looks_are_twice_as_far_apart_each_time_up_to_what_is_set(held: Bench) -> None:
    """From two seconds to `api.poll_seconds`; the end of the run ends it."""
    async with looking(held, "api.poll_seconds=50") as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.poller.serve, on.run.control)
            while len(on.pacer.slept) < 7:
                await checkpoint()
            on.run.control.end(4, "enough")
        assert on.pacer.slept[:7] == [2, 4, 8, 16, 32, 50, 50]
        assert on.run.stages.totals.batches == 1


async def test_what_was_taken_in_makes_the_next_look_an_early_one(held: Bench) -> None:
    """The waits begin anew; with nothing in flight none is made, until it is told of a batch or of the end."""
    async with looking(held, "api.poll_seconds=50") as on:
        on.pacer.at[3] = lambda: let_go(held)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.poller.serve, on.run.control)
            while len(on.pacer.slept) < 4:
                await checkpoint()
            await wait_all_tasks_blocked()
            on.run.control.end(4, "enough")
            on.poller.wake()
        assert on.pacer.slept == [2, 4, 8, 2]
        assert (on.run.stages.totals.batches, on.run.stages.totals.succeeded) == (0, 3)
        assert on.poller.taken_in == 1
    judged(held, items=4)


async def test_looks_are_never_further_apart_than_what_is_set(held: Bench) -> None:
    """Also where that is less than the two seconds of the first."""
    async with looking(held, "api.poll_seconds=0.5") as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.poller.serve, on.run.control)
            while len(on.pacer.slept) < 3:
                await checkpoint()
            on.run.control.end(4, "enough")
        assert set(on.pacer.slept) == {0.5}


async def test_a_batch_in_progress_is_left_as_it_is(held: Bench) -> None:
    """Whoever waits for results is told that it was looked at, and that nothing was taken in."""
    async with looking(held) as on:
        collected = on.poller.collected
        (record,) = await on.once()
        assert (record.items, record.batch_id) == (3, batch_id(held))
        assert collected.is_set()
        assert (on.poller.taken_in, on.poller.is_taking_in) == (0, False)
        assert (on.run.stages.totals.batches, on.run.stages.totals.batched) == (1, 3)


async def test_a_run_that_ends_looks_no_further(held: Bench) -> None:
    """What has ended since is left to the next run."""
    async with looking(held) as on:
        await to_thread.run_sync(let_go, held)
        on.run.control.end(4, "enough")
        assert len(await on.once()) == 1
        assert held.lines("batch_call", call="results") == []


async def test_a_batch_that_was_never_created_is_undone(held: Bench) -> None:
    """Once a poll interval has passed since the attempt: its items wait, and its money is free again."""
    async with looking(held, "api.poll_seconds=60") as on:
        held.batches.delete(await to_thread.run_sync(_ended_unseen, held))
        await on.change("UPDATE batches SET batch_id=NULL, intended_at=?", datetime.now(UTC).isoformat())
        (record,) = await on.once()
        assert record.batch_id is None
        await on.change("UPDATE batches SET intended_at=?", (datetime.now(UTC) - timedelta(minutes=3)).isoformat())
        reserved = on.pacer.budget.reserved_usd
        assert reserved == pytest.approx(record.worst_usd)
        assert await on.once() == []
        assert await on.counts() == (0, 3)
        assert on.pacer.budget.reserved_usd == pytest.approx(0.0)
        assert on.poller.taken_in == 1


def _ended_unseen(bench: Bench) -> str:
    let_go(bench)
    return batch_id(bench)


async def test_a_batch_that_is_being_created_is_left_to_who_creates_it(held: Bench) -> None:
    """It has no id yet; nothing is looked for."""
    async with looking(held) as on:
        await on.change("UPDATE batches SET batch_id=NULL, intended_at=?", LONG_AGO.isoformat())
        (record,) = await on.poller.in_flight()
        on.poller.creating = {record.number}
        calls = len(held.lines("batch_call"))
        assert await on.once() == [record]
        assert len(held.lines("batch_call")) == calls


async def test_a_batch_whose_id_was_lost_is_adopted_once_it_has_ended(held: Bench) -> None:
    """While one that may be it is in progress nothing is concluded; then it is known by its items, and collected."""
    async with looking(held) as on:
        await on.change("UPDATE batches SET batch_id=NULL, intended_at=?", LONG_AGO.isoformat())
        (record,) = await on.once()
        assert record.batch_id is None
        await to_thread.run_sync(let_go, held)
        (record,) = await on.once()
        assert record.batch_id == batch_id(held)
        assert await on.once() == []
    judged(held, items=4)


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_batch_that_the_service_does_not_know_any_more_is_lost(held: Bench, forgets: bool) -> None:
    """It may have been paid for, so its items fail; where it never was billed they wait for another."""
    async with looking(held) as on:
        held.batches.delete(await to_thread.run_sync(_ended_unseen, held))
        on.poller.forgets = forgets
        assert await on.once() == []
        assert await on.counts() == ((0, 3) if forgets else (0, 0))
        assert on.run.stages.totals.failures_by_type == ({} if forgets else {"bad_response": 3})
        assert on.pacer.budget.reserved_usd == pytest.approx(0.0)
        assert on.poller.taken_in == 1


async def test_results_that_are_archived_are_lost(held: Bench) -> None:
    """They are not asked for: their items fail, with what that may have cost."""
    async with looking(held) as on:
        await to_thread.run_sync(let_go, held)
        held.batches.advance(30 * DAY_S)
        assert await on.once() == []
        assert on.run.stages.totals.failures_by_type == {"bad_response": 3}
        assert held.lines("batch_call", call="results") == []
        assert on.pacer.budget.spent_usd > 0


async def test_another_services_batches_are_left_alone(held: Bench) -> None:
    """They are neither looked at nor counted."""
    async with looking(held) as on:
        await on.change("UPDATE batches SET place='http://elsewhere'")
        calls = len(held.lines("batch_call"))
        assert await on.once() == []
        assert len(held.lines("batch_call")) == calls
        assert (on.run.stages.totals.batches, on.run.stages.totals.batched) == (0, 0)
        assert await on.counts() == (3, 0)


async def test_what_is_still_being_built_is_not_in_flight(held: Bench) -> None:
    """Only what was intended may be at the service."""
    async with looking(held) as on:
        await on.change("UPDATE batches SET batch_id=NULL, intended_at=NULL")
        assert await on.poller.in_flight() == []


async def test_results_that_are_cut_off_eight_times_in_a_row_end_the_run(held: Bench) -> None:
    """Each time they are read on; one that is whole makes the count begin anew."""
    async with looking(held) as on:
        await to_thread.run_sync(let_go, held)
        held.faults("results/500")
        for _ in range(7):
            assert len(await on.once()) == 1
        with pytest.raises(RunStoppedError, match="run again to read on"):
            await on.once()
        assert on.poller.taken_in == 8
        held.faults()
        assert await on.once() == []
    judged(held, items=4)


async def test_canceling_all_releases_and_cancels_each(held: Bench) -> None:
    """One whose creation is not known has nothing to be canceled by, and is released all the same."""
    async with looking(held) as on:
        await on.poller.cancel_all()
        (record,) = await on.poller.in_flight()
        assert record.released
        assert len(held.lines("batch_call", call="cancel")) == 1
        await on.change("UPDATE batches SET batch_id=NULL, released=0")
        await on.poller.cancel_all()
        (record,) = await on.poller.in_flight()
        assert record.released
        assert len(held.lines("batch_call", call="cancel")) == 1
