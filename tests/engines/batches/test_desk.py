"""What the batch engine works with, as it is put together from what earlier runs left."""

from pathlib import Path

import pytest
from anyio import to_thread
from support.batch_runs import standing
from support.jobs import make_job
from support.open_runs import open_run

pytestmark = pytest.mark.anyio


async def test_a_first_run_has_nothing_behind_it(tmp_path: Path) -> None:
    """Nothing is reserved, paid or sampled, and the first item is asked by itself."""
    job = make_job(tmp_path, "http://127.0.0.1:9", 3, {"api": _api("http://127.0.0.1:9")})
    async with open_run(job) as run:
        desk = run.desk
        assert desk is not None
        assert (desk.is_sampled, desk.needs_first, desk.paid, desk.moved) == (False, True, set(), 0)
        assert (desk.place, desk.fingerprint) == ("http://127.0.0.1:9", run.opened.plan.fingerprint)
        assert run.stages.pacer.budget.reserved_usd == 0
        assert (desk.switch_after_s, desk.switched) == (None, False)
        assert desk.again is not None
        assert [each for batch in desk.again() for each in batch] == []


async def test_bodies_of_an_earlier_run_are_cleared(tmp_path: Path) -> None:
    """Whatever they were, their items are prepared again."""
    job = make_job(tmp_path, "http://127.0.0.1:9", 1, {"api": _api("http://127.0.0.1:9")})
    folder = job.output / "_state" / "batches"
    folder.mkdir(parents=True)
    (folder / "000001.json").write_text('{"requests": [')
    async with open_run(job):
        assert list(folder.iterdir()) == []


async def test_what_is_in_flight_holds_its_money(tmp_path: Path) -> None:
    """The most that it can cost is reserved from the start, but for batches of another address."""
    with standing(tmp_path, 4, batch_hold=True) as bench:
        assert (await to_thread.run_sync(lambda: bench.run(wait=False))).exit_code == 4
        async with open_run(bench.job) as run:
            assert run.desk is not None
            (record,) = await run.desk.poller.in_flight()
            assert record.worst_usd > 0
            assert run.stages.pacer.budget.reserved_usd == pytest.approx(record.worst_usd)
            assert run.desk.is_sampled
            assert not run.desk.needs_first
        async with open_run(bench.job, "api.base_url=http://127.0.0.1:9") as run:
            assert run.stages.pacer.budget.reserved_usd == 0


async def test_items_that_wait_are_walked_again(tmp_path: Path) -> None:
    """Those with a paid turn and no next one; what is in a batch is not among them."""
    turns = {"prompt": {"user": ["Describe {{ title }}.", "Shorter."]}}
    with standing(tmp_path, 4, turns, batch_hold=True) as bench:
        assert (await to_thread.run_sync(lambda: bench.run(wait=False))).exit_code == 4
        (line,) = bench.lines("batch_created")
        bench.batches.hold(False)
        await to_thread.run_sync(bench.ended, line["batch_id"])
        async with open_run(bench.job) as run:
            desk = run.desk
            assert desk is not None
            assert desk.again is not None
            assert [each for batch in desk.again() for each in batch] == []
            assert desk.paid == set()
            await desk.poller.once(run.control)
            waiting = [each for batch in desk.again() for each in batch]
            assert [item.item_id for _, item in waiting] == list(bench.job.ids[1:])
            assert desk.paid == {key for key, _ in waiting}
        async with open_run(bench.job) as run:
            assert run.desk is not None
            assert run.desk.paid == {key for key, _ in waiting}


@pytest.mark.parametrize(("deadline", "switched"), [("30m", True), ("12h", False)])
async def test_a_deadline_says_when_all_is_asked_by_itself(tmp_path: Path, deadline: str, switched: bool) -> None:
    """At once where a batch has too little time."""
    api = _api("http://127.0.0.1:9") | {"mode": "auto", "deadline": deadline}
    job = make_job(tmp_path, "http://127.0.0.1:9", 1, {"api": api})
    async with open_run(job) as run:
        assert run.desk is not None
        assert run.desk.switched == switched
        assert run.desk.switch_after_s is not None
        assert (run.desk.switch_after_s == 0) == switched


async def test_a_deadline_counts_from_the_oldest_batch(tmp_path: Path) -> None:
    """A run that comes back to what is in flight has the less time left."""
    with standing(tmp_path, 3, {"api": {"mode": "auto", "deadline": "12h"}}, batch_hold=True) as bench:
        assert (await to_thread.run_sync(lambda: bench.run(wait=False))).exit_code == 4
        async with open_run(bench.job) as run:
            assert run.desk is not None
            first = run.desk.switch_after_s
            query = "UPDATE batches SET intended_at=strftime('%Y-%m-%dT%H:%M:%S+00:00', intended_at, '-5 hours')"
            await run.stages.ledger.keep(lambda journal: journal.database.connection.execute(query))
        async with open_run(bench.job) as run:
            assert run.desk is not None
            assert first is not None
            assert run.desk.switch_after_s is not None
            assert run.desk.switch_after_s <= first - 5 * 3600 + 60


def _api(url: str) -> dict[str, object]:
    """The section of a job in the Batches mode."""
    return {"base_url": url, "model": "claude-haiku-4-5", "max_tokens": 300, "mode": "batches"}
