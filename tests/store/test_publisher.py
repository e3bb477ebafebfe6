"""When pending rows become parts: as they are enough, as they are due, and at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest

from pipeline.records import Item, Outcome
from pipeline.store.commits import Commits
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.publisher import Publisher
from pipeline.store.rows import outcome_row
from pipeline.store.schema import Kind

pytestmark = pytest.mark.anyio
RUN = RunIdentity("20260101T000000Z-aaaa", "f1")


@asynccontextmanager
async def publishing(output: Path, rows_per_file: int) -> AsyncIterator[tuple[Commits, Publisher]]:
    """A publisher of a new dataset."""
    settings = DatasetSettings(output, rows_per_file=rows_per_file)
    with open_dataset(settings) as journal:
        commits = Commits(journal, output, lambda opened: opened.accept("f1"), lambda: 0.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commits.serve)
            try:
                yield commits, Publisher(commits, settings, RUN.run_id)
            finally:
                commits.close()


async def add(commits: Commits, publisher: Publisher, *names: str) -> None:
    """Rows of `results` for these items."""
    for name in names:
        row = outcome_row(Outcome(Item(name, ()), caption=name), RUN, datetime(2026, 1, 1, tzinfo=UTC))
        await commits.do(lambda journal, row=row: journal.add_row(row))
        publisher.expect(Kind.RESULTS)


def parts(output: Path) -> list[list[str]]:
    """The items of each part of `results`, in the order of the parts' names."""
    return [pq.read_table(path)["item_id"].to_pylist() for path in sorted((output / "results").glob("part-*.parquet"))]


async def test_only_full_parts_are_written_until_the_rest_is_asked_for(tmp_path: Path) -> None:
    """Three rows fill one part of two; the third waits, and then has one of its own."""
    output = tmp_path / "out"
    async with publishing(output, 2) as (commits, publisher):
        await add(commits, publisher, "a", "b", "c")
        await publisher.publish(full_only=True)
        assert parts(output) == [["a", "b"]]
        await publisher.publish()
        assert parts(output) == [["a", "b"], ["c"]]
        await publisher.publish()
        assert len(parts(output)) == 2


async def test_a_full_part_is_written_as_soon_as_it_is_full(tmp_path: Path) -> None:
    """Nobody has to ask: the rows of a part are enough to wake the one who publishes."""
    output = tmp_path / "out"
    async with publishing(output, 2) as (commits, publisher), anyio.create_task_group() as flushers:
        flushers.start_soon(publisher.flush_regularly)
        await add(commits, publisher, "a", "b")
        with anyio.fail_after(30):
            while not parts(output):
                await commits.do(lambda journal: journal.fingerprints(), writes=False)
        flushers.cancel_scope.cancel()
    assert parts(output) == [["a", "b"]]
