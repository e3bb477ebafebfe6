"""Grouped commits."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import anyio.to_thread
import pytest

from pipeline.store.journal import Journal
from pipeline.store.writer import Entry, GroupWriter

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def writing(path: Path) -> AsyncIterator[tuple[GroupWriter, list[str], list[Exception]]]:
    """A writer at work on a new journal, every statement it executes, and the errors it told of."""
    journal = Journal(path / "journal.sqlite")
    statements: list[str] = []
    errors: list[Exception] = []
    writer = GroupWriter(journal, lambda opened: opened.accept("first"), errors.append)
    journal.database.connection.set_trace_callback(statements.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.serve)
        try:
            yield writer, statements, errors
        finally:
            writer.close()
            tasks.cancel_scope.cancel()
    journal.close()


def accept(name: str) -> Callable[[Journal], Any]:
    """Work that writes one fingerprint down."""
    return lambda journal: journal.accept(name)


class Gate:
    """Work that keeps the writer's thread until it is opened."""

    def __init__(self) -> None:
        self._entered, self._opened = Event(), Event()

    def __call__(self, _: Journal) -> None:
        """Waits."""
        self._entered.set()
        assert self._opened.wait(30)

    async def entered(self) -> None:
        """Returns once the writer's thread waits at the gate."""
        assert await anyio.to_thread.run_sync(self._entered.wait, 30)

    def open(self) -> None:
        """Lets it go on."""
        self._opened.set()


async def done(*entries: Entry) -> None:
    """Waits for all of them."""
    for entry in entries:
        await entry.done.wait()


async def test_what_comes_during_a_commit_shares_the_next_one(tmp_path: Path) -> None:
    """A hundred pieces of work that wait together are one transaction, in the order in which they came."""
    gate = Gate()
    async with writing(tmp_path) as (writer, statements, errors):
        first = writer.put(gate)
        await gate.entered()
        entries = [writer.put(accept(f"f{number:03}")) for number in range(100)]
        question = writer.put(lambda journal: journal.fingerprints(), writes=False)
        gate.open()
        await done(first, *entries, question)
        assert question.result == ["first", *(f"f{number:03}" for number in range(100))]
        assert statements.count("COMMIT") == 2
        assert errors == []


async def test_a_group_waits_for_others_to_join_it(tmp_path: Path) -> None:
    """What is handed over within the time that a group is held shares its commit, and the close ends the wait."""
    journal = Journal(tmp_path / "journal.sqlite")
    statements: list[str] = []
    writer = GroupWriter(journal, lambda _: None, lambda _: None, lambda: 3600.0)
    journal.database.connection.set_trace_callback(statements.append)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.serve)
            for number in range(10):
                writer.put(accept(f"f{number}"))
                await anyio.wait_all_tasks_blocked()
            assert statements == []
            writer.close()
    assert statements.count("COMMIT") == 1
    assert len(journal.fingerprints()) == 10
    journal.close()


async def test_questions_alone_begin_no_transaction(tmp_path: Path) -> None:
    """Asking leaves no trace: no first work, no write, nothing that counts as a run."""
    async with writing(tmp_path) as (writer, statements, _):
        question = writer.put(lambda journal: journal.fingerprints(), writes=False)
        await done(question)
        assert question.result == []
        assert not writer.has_written
        assert not any(statement.startswith(("BEGIN", "INSERT")) for statement in statements)


async def test_work_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    """Its neighbours in the group are written, once each, and its own writes are taken back."""
    gate = Gate()

    def broken(journal: Journal) -> None:
        journal.accept("half")
        raise ZeroDivisionError

    async with writing(tmp_path) as (writer, _, errors):
        first = writer.put(gate)
        await gate.entered()
        entries = [writer.put(work) for work in (accept("a"), broken, accept("b"))]
        gate.open()
        await done(first, *entries)
        assert [type(entry.error) for entry in entries] == [type(None), ZeroDivisionError, type(None)]
        assert [type(error) for error in errors] == [ZeroDivisionError]
        question = writer.put(lambda journal: journal.fingerprints(), writes=False)
        await done(question)
        assert question.result == ["first", "a", "b"]


async def test_the_first_work_is_done_once_and_only_with_what_is_kept(tmp_path: Path) -> None:
    """A first group that fails leaves nothing behind; the next one begins the run."""

    def broken(_: Journal) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with writing(tmp_path) as (writer, _, errors):
        failed = writer.put(broken)
        await done(failed)
        assert not writer.has_written
        assert failed.error is errors[0]
        kept = [writer.put(accept(name)) for name in ("a", "b")]
        await done(*kept)
        assert writer.has_written
        question = writer.put(lambda journal: journal.fingerprints(), writes=False)
        await done(question)
        assert question.result == ["first", "a", "b"]


async def test_what_was_put_is_written_although_the_run_is_cancelled(tmp_path: Path) -> None:
    """A cancelled run ends only when its last answer is synced."""
    gate = Gate()
    journal = Journal(tmp_path / "journal.sqlite")
    writer = GroupWriter(journal, lambda _: None, lambda _: None)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.serve)
            writer.put(gate)
            await gate.entered()
            writer.put(accept("late"))
            scope.cancel()
            writer.close()
            gate.open()
    assert journal.fingerprints() == ["late"]
    journal.close()


async def test_nothing_can_be_put_after_the_close(tmp_path: Path) -> None:
    """Work that nobody would write is refused, not lost."""
    async with writing(tmp_path) as (writer, _, _):
        writer.close()
        with pytest.raises(anyio.ClosedResourceError):
            writer.put(accept("late"))
