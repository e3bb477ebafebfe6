"""Commits and their first failure."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.errors import OutputError
from pipeline.store.commits import Commits
from pipeline.store.journal import Journal

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def committing(path: Path) -> AsyncIterator[Commits]:
    """Commits to a new journal."""
    journal = Journal(path / "journal.sqlite")
    commits = Commits(journal, "out/photos", lambda opened: opened.accept("first"), lambda: 0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.serve)
        try:
            yield commits
        finally:
            commits.close()
    journal.close()


def full(_: Journal) -> None:
    """Work on a disk that has no room."""
    raise sqlite3.OperationalError("database or disk is full")


def gone() -> None:
    """Work on files that are not there."""
    raise OSError(5, "Input/output error")


async def test_what_is_done_is_answered_once_it_is_written(tmp_path: Path) -> None:
    """The work's own result comes back, and the run's first note is there with it."""
    async with committing(tmp_path) as commits:
        assert await commits.do(lambda journal: journal.fingerprints(), writes=False) == []
        assert not commits.has_written
        assert await commits.do(lambda journal: journal.fingerprints()) == ["first"]
        assert commits.has_written


async def test_the_first_failure_stays_the_runs(tmp_path: Path) -> None:
    """Whoever waits hears it, on whatever disk it was, and it names the place and the remedy."""
    async with committing(tmp_path) as commits:
        with pytest.raises(OutputError, match=r"out/photos: .*disk is full; make room") as first:
            await commits.do(full)
        with pytest.raises(OutputError) as second:
            await commits.on_files(gone)
        assert commits.failure is first.value is second.value


async def test_a_failure_is_known_although_nobody_waits_for_the_work(tmp_path: Path) -> None:
    """A note that is not waited for stops the run all the same."""
    async with committing(tmp_path) as commits:
        entry = commits.put(full)
        await entry.done.wait()
        assert commits.failure is not None


async def test_a_mistake_of_ours_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    """It is raised as it is, where the work was handed over."""

    def wrong(_: Journal) -> None:
        raise ZeroDivisionError

    async with committing(tmp_path) as commits:
        with pytest.raises(ZeroDivisionError):
            await commits.do(wrong)
        assert commits.failure is None
