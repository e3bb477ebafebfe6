"""The first half of every engine: every wanted item reaches a taker, or is settled here."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream
from support.jobs import Job, make_job
from support.open_runs import Standing, open_run
from support.pictures import encoded, smooth
from support.running import run as run_whole

from pipeline.engines.intake import count_outcome, feed
from pipeline.engines.preparing import ReadyItem
from pipeline.engines.selection import Keyed, chosen
from pipeline.engines.totals import Totals
from pipeline.errors import ItemError, ManifestError
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.records import Item, Mode, Outcome
from pipeline.store.journal import SettledAs
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
NOBODY = "http://127.0.0.1:9"


class Takers:
    """Take what they are given, and note it; one of them may end the run."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.calls = 0

    async def __call__(self, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
        """Takes until there are no more."""
        self.calls += 1
        async for one in ready:
            self.taken.append(one.item.item_id)
            await self.then()

    async def then(self) -> None:
        """What is done with each."""


async def fed(run: Standing, take: Takers, batches: Iterator[list[Keyed]] | None = None, takers: int = 3) -> None:
    """The run's items fed to takers."""
    stages = replace(run.stages, preparers=2)
    await feed(stages, run.control, batches or run.stages.batches, take, takers)


def with_problems(folder: Path) -> Job:
    """A job of six items, of which the second has no picture, the fourth a broken one, and one stands there twice."""
    job = make_job(folder, NOBODY, images=6)
    (folder / "item-001.jpg").unlink()
    (folder / "item-003.jpg").write_bytes(b"no picture")
    job.add_rows(["item-005", "item-000.jpg", "Another under the same id"])
    return job


async def test_every_wanted_item_reaches_one_taker(tmp_path: Path) -> None:
    """Prepared, under its key, whoever of them takes it; each taker is asked once."""
    take = Takers()
    async with open_run(make_job(tmp_path, NOBODY, images=9)) as run:
        await fed(run, take)
        assert sorted(take.taken) == [f"item-{number:03}" for number in range(9)]
        assert (take.calls, run.stages.totals.total, run.stages.totals.complete) == (3, 9, True)
        assert run.stages.totals.pending == 9
        assert run.control.stop is None


async def test_an_item_that_fails_is_settled_and_counted_and_costs_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has its row and its line in the log; the others go on; the next run does not take it up by itself."""
    job, take = with_problems(tmp_path), Takers()
    async with open_run(job) as run:
        with caplog.at_level(logging.WARNING, "pipeline"):
            await fed(run, take)
        totals = run.stages.totals
        assert sorted(take.taken) == ["item-000", "item-002", "item-004", "item-005"]
        assert totals.failures_by_type == {"image_missing": 1, "image_unsupported": 1, "duplicate_id": 1}
        assert (totals.failed, totals.pending, totals.sent) == (3, 4, 0)
    logged = {record.item_id: record.error_type for record in caplog.records if hasattr(record, "item_id")}  # type: ignore[attr-defined]
    assert logged == {"item-001": "image_missing", "item-003": "image_unsupported", "item-005": "duplicate_id"}
    rows = read_results(job.output, failures=True).to_pylist()
    assert sorted(row["item_id"] for row in rows) == ["item-001", "item-003", "item-005"]
    sources = {row["item_id"]: [image["source"] for image in row["images"]] for row in rows}
    assert sources["item-001"] == ["item-001.jpg"]
    async with open_run(job, run_id="second") as run:
        await fed(run, again := Takers())
        assert sorted(again.taken) == sorted(take.taken)
        assert run.stages.totals.skipped == 3


async def test_a_twin_that_fails_leaves_the_first_of_its_id_open(tmp_path: Path) -> None:
    """It is settled under a key of its own."""
    async with open_run(with_problems(tmp_path)) as run:
        await fed(run, Takers())
        mark = run.opened.plan.fingerprint
        keys = {(item.item_id, item.problem is None): key for batch in _again(run) for key, item in batch}
        standings = await run.stages.ledger.ask(lambda journal: journal.standings(list(keys.values()), mark))
        assert keys["item-005", True] not in standings
        assert standings[keys["item-005", False]].state is SettledAs.FAILED


def _again(run: Standing) -> Iterator[list[Keyed]]:
    """The manifest's items once more, whatever became of them."""
    with open_manifest(run.opened.plan.manifest) as manifest, SeenItems(run.opened.plan.dataset.state) as seen:
        yield from chosen(manifest, seen, run.opened.part)


async def test_the_end_of_a_run_ends_the_intake_and_counts_what_is_left(tmp_path: Path) -> None:
    """No further item is prepared than those under way; the manifest is counted to its end all the same."""

    class Ending(Takers):
        async def then(self) -> None:
            run.control.end(4, "enough")

    take = Ending()
    async with open_run(make_job(tmp_path, NOBODY, images=40)) as run:
        rows = [each for batch in run.stages.batches for each in batch]
        await fed(run, take, iter([[each] for each in rows]), takers=1)
        assert 1 <= len(take.taken) <= 8
        assert run.control.stop is not None
        assert run.stages.totals.failed == 0
        seen: list[Keyed] = []
        await fed(run, Takers(), _noted(rows, seen))
        assert len(seen) == len(rows)


def _noted(rows: list[Keyed], seen: list[Keyed]) -> Iterator[list[Keyed]]:
    """Batches of one, noted as they are asked for."""
    for each in rows:
        seen.append(each)
        yield [each]


async def test_a_run_that_has_ended_prepares_nothing(tmp_path: Path) -> None:
    """Not even what would fail."""
    take = Takers()
    async with open_run(with_problems(tmp_path)) as run:
        run.control.end(4, "enough")
        await fed(run, take)
        assert (take.taken, run.stages.totals.failed, run.stages.totals.total) == ([], 0, 7)
        assert not run.stages.ledger.has_written


@pytest.mark.parametrize(("sent", "code"), [(0, 2), (3, 1)])
async def test_a_manifest_that_breaks_off_ends_the_run_in_good_order(tmp_path: Path, sent: int, code: int) -> None:
    """What was read before is handed on, or stays open; 2 says that nothing was sent."""

    def broken(rows: list[Keyed]) -> Iterator[list[Keyed]]:
        yield rows[:1]
        raise ManifestError("photos.csv:3: damaged")

    async with open_run(make_job(tmp_path, NOBODY, images=2)) as run:
        run.stages.totals.sent = sent
        await fed(run, Takers(), broken(next(run.stages.batches)))
        assert run.control.stop is not None
        assert (run.control.stop.exit_code, run.control.stop.reason) == (code, "photos.csv:3: damaged")


async def test_no_more_is_read_ahead_than_the_buffers_hold(tmp_path: Path) -> None:
    """Memory is bounded however long the manifest is, and however slow the takers are."""
    asked: list[Keyed] = []
    ahead: list[int] = []

    class Slow(Takers):
        async def then(self) -> None:
            for _ in range(5):
                await checkpoint()
            ahead.append(len(asked) - len(self.taken))

    async with open_run(make_job(tmp_path, NOBODY, images=1)) as run:
        ((key, item),) = next(run.stages.batches)
        rows = [(key, Item(f"i{number}", (), item.columns)) for number in range(150)]
        take = Slow()
        await fed(run, take, _noted(rows, asked), takers=2)
    assert len(take.taken) == 150
    assert max(ahead) <= 4 + 2 + 4 + 2 + 2  # two buffers, two preparers, two takers, and one on its way into each


async def test_items_whose_pictures_are_unchanged_are_skipped(tmp_path: Path, start_standin: Any) -> None:
    """With `manifest.changed = "detect"` only what is about other bytes is handed on."""
    job = make_job(tmp_path, start_standin().url, images=4)
    assert (await run_whole(job)).exit_code == 0
    (tmp_path / "item-002.jpg").write_bytes(encoded(smooth(320, 250, 77), quality=80))
    take = Takers()
    async with open_run(job, "manifest.changed=detect") as run:
        await fed(run, take)
        assert (take.taken, run.stages.totals.skipped, run.stages.totals.pending) == (["item-002"], 3, 1)


def test_outcomes_are_counted_and_only_failures_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A long id is cut in the line, and whole in its fields."""
    totals, name = Totals(), "x" * 300
    error = ItemError("image_missing", "gone", request_id="req-1")
    with caplog.at_level(logging.WARNING, "pipeline"):
        count_outcome(totals, Outcome(Item("a", ())))
        count_outcome(totals, Outcome(Item("b", ()), mode=Mode.REUSED))
        count_outcome(totals, Outcome(Item(name, ()), error=error))
    assert (totals.succeeded, totals.reused, totals.failed) == (1, 1, 1)
    (record,) = caplog.records
    assert record.getMessage() == f"failed: {'x' * 100}: image_missing: gone"
    assert (record.item_id, record.request_id, record.error_type) == (name, "req-1", "image_missing")  # type: ignore[attr-defined]
