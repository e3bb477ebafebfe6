"""What is in flight, held against what the service says of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from anyio import to_thread
from support.batch_runs import Bench, standing
from support.jobs import make_job
from support.open_runs import open_run
from support.running import plan_of

from pipeline.engines.batches.account import cancel_batches, list_batches
from pipeline.engines.selection import Choice
from pipeline.errors import ConfigError, RunStoppedError

pytestmark = pytest.mark.anyio


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Bench]:
    """A batch of three items that does not go on by itself."""
    with standing(tmp_path, 4, {"retry": {"max_wait_seconds": 0.01, "max_attempts": 1}}, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        yield bench


def changed(bench: Bench, query: str) -> None:
    """Changes what the journal knows."""
    with closing(sqlite3.connect(bench.job.output / "_state" / "journal.sqlite")) as journal:
        journal.execute(query)
        journal.commit()


async def test_a_batch_is_listed_as_journal_and_service_know_it(held: Bench) -> None:
    """Also while a run has the dataset: nothing is locked and nothing written."""
    async with open_run(held.job) as run:
        (found,) = await list_batches(plan_of(held.job))
        assert found.record.items == 3
        assert found.state is not None
        assert (found.state.batch_id, found.state.status) == (found.record.batch_id, "in_progress")
        assert not run.stages.ledger.has_written
    assert held.lines("batch_call", call="cancel") == []


async def test_nothing_in_flight_is_an_empty_list(tmp_path: Path) -> None:
    """Before the first run too, when there is no dataset; nobody is asked."""
    job = make_job(tmp_path, "http://127.0.0.1:9", 1)
    assert await list_batches(plan_of(job)) == await cancel_batches(plan_of(job)) == []
    assert not job.output.exists()


async def test_a_batch_is_canceled_once(held: Bench) -> None:
    """One that is being canceled, or has ended, is left as it is."""
    (found,) = await cancel_batches(plan_of(held.job))
    assert found.state is not None
    assert found.state.status in {"canceling", "ended"}
    (again,) = await cancel_batches(plan_of(held.job))
    assert again.record == found.record
    assert len(held.lines("batch_call", call="cancel")) == 1
    await to_thread.run_sync(held.ended, str(found.record.batch_id))
    (ended,) = await cancel_batches(plan_of(held.job))
    assert ended.state is not None
    assert ended.state.ended
    assert ended.state.counts["canceled"] == 3


async def test_one_whose_creation_is_not_confirmed_is_told_without_asking(held: Bench) -> None:
    """There is no id to ask or to cancel by."""
    changed(held, "UPDATE batches SET batch_id=NULL")
    calls = len(held.lines("batch_call"))
    (found,) = await cancel_batches(plan_of(held.job))
    assert (found.record.batch_id, found.record.items, found.state) == (None, 3, None)
    assert len(held.lines("batch_call")) == calls


async def test_one_that_the_service_forgot_is_told(held: Bench) -> None:
    """Its items are still without a result, as far as the journal knows."""
    held.batches.hold(False)
    (line,) = held.lines("batch_created")
    await to_thread.run_sync(held.ended, line["batch_id"])
    held.batches.delete(line["batch_id"])
    for ask in (list_batches, cancel_batches):
        (found,) = await ask(plan_of(held.job))
        assert (found.record.items, found.state) == (3, None)


async def test_neither_another_address_nor_what_is_being_built_is_listed(held: Bench) -> None:
    """The first is another account's, the second nobody's yet."""
    assert await list_batches(plan_of(held.job, "api.base_url=http://127.0.0.1:9")) == []
    changed(held, "UPDATE batches SET intended_at=NULL, batch_id=NULL")
    assert await list_batches(plan_of(held.job)) == []


async def test_a_batch_that_shards_share_is_listed_with_the_items_of_each(held: Bench) -> None:
    """Together they have all that is without a result."""
    await to_thread.run_sync(lambda: held.run(choice=Choice(shard=(1, 2)), wait=False))
    found = await list_batches(plan_of(held.job))
    assert sum(each.record.items for each in found) == 3
    assert len({each.record.batch_id for each in found}) == 1


async def test_a_refused_key_is_told_as_such(held: Bench) -> None:
    """With what was asked; nothing is changed."""
    held.faults("get/401")
    with pytest.raises(RunStoppedError, match="authentication_error"):
        await list_batches(plan_of(held.job))
    held.faults()
    assert len(await list_batches(plan_of(held.job))) == 1


async def test_the_embedded_endpoint_has_no_account(tmp_path: Path) -> None:
    """Its batches go with each run."""
    job = make_job(tmp_path, "embedded", 1)
    for ask in (list_batches, cancel_batches):
        with pytest.raises(ConfigError, match=r"api\.base_url: found \"embedded\""):
            await ask(plan_of(job))
