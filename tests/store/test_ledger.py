"""The ledger of one run."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest
from support.datasets import MOMENT, answered, caption_all, failed, paid, recovered, snapshot, with_ledger
from support.small_disks import mounted_disk

from pipeline.errors import OutputError
from pipeline.records import Attempt, Item
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal, SettledAs, item_key
from pipeline.store.ledger import KEPT_BYTES, Ledger, open_ledger
from pipeline.store.read import dataset_status, read_results
from pipeline.store.recovery import open_journal, recover


def parts(output: Path, kind: str) -> list[int]:
    """How many rows the parts of a table have, oldest first."""
    return [pq.read_metadata(path).num_rows for path in sorted((output / kind).glob("part-*.parquet"))]


def test_leaving_the_ledger_publishes_what_is_pending(tmp_path: Path) -> None:
    """Every row is in a part, and the journal holds no row any more."""

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a"), answered("b"), failed("c")])
        assert parts(tmp_path, "results") == []

    with_ledger(tmp_path, body)
    assert [parts(tmp_path, kind) for kind in ("results", "failures", "requests")] == [[2], [1], [3]]
    with recovered(tmp_path) as (journal, _):
        assert list(journal.pending.rows()) == []
        assert journal.flights() == []
        standings = journal.standings([item_key(name) for name in "abc"], "f1")
        assert [standings[item_key(name)].state for name in "abc"] == [
            SettledAs.SUCCEEDED,
            SettledAs.SUCCEEDED,
            SettledAs.FAILED,
        ]


def test_a_part_is_written_as_soon_as_enough_rows_of_its_table_wait(tmp_path: Path) -> None:
    """Each table by its own count, no part with more rows than it may have, the rest at the end."""
    settings = DatasetSettings(tmp_path, rows_per_file=4, flush_seconds=3600)

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered(f"i{number}") for number in range(4)])
        with anyio.fail_after(30):
            while not parts(tmp_path, "results"):
                await anyio.lowlevel.checkpoint()
        await caption_all(ledger, [failed("x"), answered("y"), answered("z")])

    with_ledger(tmp_path, body, settings=settings)
    assert max(parts(tmp_path, "results")) == 4
    assert sum(parts(tmp_path, "results")) == 6
    assert parts(tmp_path, "failures") == [1]
    assert max(parts(tmp_path, "requests")) == 4


def test_rows_are_published_in_time_although_few_wait(tmp_path: Path) -> None:
    """After `flush_seconds` readers see what there is, again and again."""

    async def body(ledger: Ledger) -> None:
        for number in range(1, 4):
            await caption_all(ledger, [answered(f"i{number}")])
            with anyio.fail_after(30):
                while sum(parts(tmp_path, "results")) < number:
                    await anyio.lowlevel.checkpoint()

    with_ledger(tmp_path, body, settings=DatasetSettings(tmp_path, flush_seconds=0.01))


def test_a_paid_turn_is_kept_until_its_item_is_settled(tmp_path: Path) -> None:
    """The next run finds the whole answer and its request's row, and asks nothing again."""

    async def first(ledger: Ledger) -> None:
        await ledger.arrive(ledger.depart("a", 1, 1, MOMENT), paid("a", status=529))
        await ledger.arrive(ledger.depart("a", 1, 2, MOMENT), paid("a", 2))

    async def second(ledger: Ledger) -> None:
        (turn,) = await ledger.paid_turns(Item("a", ()))
        assert (turn.turn, turn.attempt, turn.answer, turn.body["cost_usd"]) == (1, 2, b'{"answer": 1}', 0.5)
        await ledger.settle(answered("a"))
        assert await ledger.paid_turns(Item("a", ())) == []

    with_ledger(tmp_path, first)
    with_ledger(tmp_path, second, RunIdentity("run-2", "f1"))
    assert dataset_status(tmp_path).requests.sent == 2


def test_an_identical_request_finds_its_answer_pending_and_published(tmp_path: Path) -> None:
    """First in the journal, then in the part, and in later runs; nobody else's answer is taken for it."""

    async def first(ledger: Ledger) -> None:
        assert await ledger.answer_for(b"key") is None
        await ledger.settle(answered("a", stop_reason="end_turn", warnings=("late",)), reuse=b"key")
        await ledger.settle(answered("b"), reuse=b"other")
        await check(ledger)
        await ledger.publish()
        await check(ledger)

    async def check(ledger: Ledger) -> None:
        row = await ledger.answer_for(b"key")
        assert row is not None
        assert (row["caption"], row["replies"], row["stop_reason"], row["warnings"]) == (
            "caption of a",
            ["caption of a"],
            "end_turn",
            ["late"],
        )

    with_ledger(tmp_path, first)
    with_ledger(tmp_path, check, RunIdentity("run-2", "f1"))
    for path in (tmp_path / "results").iterdir():
        path.write_bytes(b"")

    async def lost(ledger: Ledger) -> None:
        assert await ledger.answer_for(b"key") is None

    with_ledger(tmp_path, lost, RunIdentity("run-3", "f1"))


def test_a_failure_answers_no_identical_request(tmp_path: Path) -> None:
    """What failed is tried again for each item."""

    async def body(ledger: Ledger) -> None:
        await ledger.settle(failed("a"), reuse=b"key")
        assert await ledger.answer_for(b"key") is None

    with_ledger(tmp_path, body)


def test_a_duplicate_id_is_settled_beside_its_twin(tmp_path: Path) -> None:
    """Under a key of its own, so that the answered item stays answered."""

    async def body(ledger: Ledger) -> None:
        await ledger.settle(answered("a"))
        await ledger.settle(failed("a", "duplicate_id"), key=b"k" * 16)

    with_ledger(tmp_path, body)
    with recovered(tmp_path) as (journal, _):
        states = journal.standings([item_key("a"), b"k" * 16], "f1")
        assert [states[key].state for key in (item_key("a"), b"k" * 16)] == [SettledAs.SUCCEEDED, SettledAs.FAILED]


def test_a_run_that_only_asks_changes_no_byte(tmp_path: Path) -> None:
    """Nothing to do is nothing done: journal, seal and parts keep bytes and times, and no run is noted."""
    with_ledger(tmp_path, lambda ledger: caption_all(ledger, [answered("a")]))
    with recovered(tmp_path):
        pass
    before = snapshot(tmp_path)

    async def body(ledger: Ledger) -> None:
        assert await ledger.paid_turns(Item("b", ())) == []
        assert await ledger.answer_for(b"none") is None
        assert not ledger.has_written

    with_ledger(tmp_path, body, RunIdentity("run-2", "f9"))
    assert snapshot(tmp_path) == before


def test_unreadable_answers_are_kept_private_bounded_and_in_their_folder(tmp_path: Path) -> None:
    """A hostile name leads nowhere else."""

    async def body(ledger: Ledger) -> None:
        await ledger.keep_unreadable("../../etc/x y", b"x" * (KEPT_BYTES + 10))

    with_ledger(tmp_path, body)
    (kept,) = (tmp_path / "_state" / "unreadable").iterdir()
    assert kept.stat().st_size == KEPT_BYTES
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_what_was_handed_over_is_kept_although_the_run_breaks_off(tmp_path: Path) -> None:
    """An error in the run, or its cancellation, publishes what was settled before."""

    async def broken(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a")])
        raise ZeroDivisionError

    async def cancelled(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("b")])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ledger.settle(answered("c"))

    with pytest.raises(ExceptionGroup) as caught:
        with_ledger(tmp_path, broken)
    assert caught.group_contains(ZeroDivisionError)
    with_ledger(tmp_path, cancelled, RunIdentity("run-2", "f1"))
    assert sorted(read_results(tmp_path)["item_id"].to_pylist()) == ["a", "b", "c"]


def test_a_request_that_never_came_back_is_possible_spend(tmp_path: Path) -> None:
    """A flight without an end is, at the next start, a row of requests with null tokens."""

    async def body(ledger: Ledger) -> None:
        ledger.depart("a", 1, 3, MOMENT)
        await ledger.settle(answered("b"))

    with_ledger(tmp_path, body)
    with recovered(tmp_path) as (_, found):
        assert found.flights_lost == 1
    (row,) = read_results(tmp_path, requests=True).to_pylist()
    assert (row["item_id"], row["attempt"], row["started_at"], row["http_status"]) == ("a", 3, MOMENT, None)
    assert (row["input_tokens"], row["cost_usd"], row["error_type"]) == (None, None, "connection_error")


def test_a_part_that_cannot_be_written_stops_sending_and_loses_nothing(tmp_path: Path) -> None:
    """New requests are refused, what is in flight is still taken, the run ends with the reason, and the next mends."""
    (tmp_path / "results").write_text("a file where the folder should be")

    async def body(ledger: Ledger) -> None:
        flight = ledger.depart("b", 1, 1, MOMENT)
        await ledger.settle(answered("a"))
        with pytest.raises(OutputError, match="cannot be written any more") as caught:
            await ledger.publish()
        with pytest.raises(OutputError) as refused:
            ledger.depart("c", 1, 1, MOMENT)
        assert refused.value is caught.value is ledger.failure
        await ledger.arrive(flight, paid("b"))
        await ledger.settle(answered("b"))

    with pytest.raises(OutputError, match=str(tmp_path)):
        with_ledger(tmp_path, body)
    (tmp_path / "results").unlink()
    with recovered(tmp_path):
        pass
    assert sorted(read_results(tmp_path)["item_id"].to_pylist()) == ["a", "b"]
    assert dataset_status(tmp_path).requests.succeeded == 1


def test_a_failing_part_in_the_background_ends_the_run_in_good_order(tmp_path: Path) -> None:
    """Whoever waits is not cancelled: the failure is seen at the next request, and raised at the end."""
    (tmp_path / "results").write_text("a file where the folder should be")

    async def body(ledger: Ledger) -> None:
        await ledger.settle(answered("a"))
        with anyio.fail_after(30):
            while ledger.failure is None:
                await anyio.lowlevel.checkpoint()
        await ledger.settle(answered("b"))

    with pytest.raises(OutputError):
        with_ledger(tmp_path, body, settings=DatasetSettings(tmp_path, flush_seconds=0.01))
    (tmp_path / "results").unlink()
    with recovered(tmp_path):
        pass
    assert sorted(read_results(tmp_path)["item_id"].to_pylist()) == ["a", "b"]


def test_many_thumbnails_make_one_part_of_several_row_groups(tmp_path: Path) -> None:
    """A large part is written a row group at a time, so that its rows are never in memory all at once."""

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered(f"i{number:05}", thumbnail=b"webp") for number in range(5000)])

    with_ledger(tmp_path, body)
    (path,) = (tmp_path / "results").iterdir()
    assert pq.read_metadata(path).num_row_groups == 2
    assert sorted(read_results(tmp_path)["item_id"].to_pylist()) == [f"i{number:05}" for number in range(5000)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    with mounted_disk(tmp_path / "disk", "2m") as place:
        yield place


def test_a_full_disk_is_told_to_who_waits_and_what_was_kept_stays(small_disk: Path, tmp_path: Path) -> None:
    """No acknowledged answer is lost; with room again, the next start publishes them all."""
    output = small_disk / "out"
    kept: list[str] = []

    async def body(ledger: Ledger) -> None:
        for number in range(1000):
            try:
                flight = ledger.depart(f"i{number}", 1, 1, MOMENT)
                answer = Attempt(f"i{number}", 1, 1, MOMENT, 1.0, http_status=200, answer=os.urandom(20_000))
                await ledger.arrive(flight, answer)
                kept.append(f"i{number}")
            except OutputError:
                return
        pytest.fail("the disk never filled up")

    with pytest.raises(OutputError, match=r"full|No space"):
        with_ledger(output, body)
    assert kept
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    with recovered(output) as (journal, _):
        assert {item_key(name) for name in kept} <= journal.items_with_turns("f1")
    assert set(kept) <= set(read_results(output, requests=True)["item_id"].to_pylist())


CHILD = """
import os, sys
from functools import partial
from pathlib import Path
import anyio
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.ledger import open_ledger
from pipeline.store.recovery import open_journal, recover
sys.path.insert(0, sys.argv[3])
from support.datasets import MOMENT, answered, paid

async def main(output, run_id):
    settings = DatasetSettings(output, rows_per_file=7, flush_seconds=0.02)
    journal = open_journal(output)
    recover(journal, settings)
    async with open_ledger(journal, settings, RunIdentity(run_id, "f1")) as ledger:
        async def one(item_id):
            flight = ledger.depart(item_id, 1, 1, MOMENT)
            await ledger.arrive(flight, paid(item_id))
            os.write(1, f"paid {item_id}\\n".encode())
            await ledger.settle(answered(item_id, thumbnail=b"x" * 2000))
            os.write(1, f"settled {item_id}\\n".encode())

        async def some(start):
            for number in range(start, 4000, 8):
                await one(f"{run_id}-{number}")

        async with anyio.create_task_group() as tasks:
            for start in range(8):
                tasks.start_soon(some, start)

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


def killed_run(output: Path, run_id: str, lines: int) -> dict[str, set[str]]:
    """A run in a process of its own, killed after so many acknowledgements; what it had acknowledged."""
    tests = str(Path(__file__).parent.parent)
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(output), run_id, tests], stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    told += process.communicate()[0].splitlines(keepends=True)
    found: dict[str, set[str]] = {"paid": set(), "settled": set()}
    for verb, item_id in (line.decode().split() for line in told if line.endswith(b"\n")):
        found[verb].add(item_id)
    return found


def test_nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    """Killed at several moments, also during a resume: every paid request and settled item is there, once."""
    paid_items: set[str] = set()
    settled: set[str] = set()
    for round_number, lines in enumerate((1, 33, 160, 401)):
        told = killed_run(tmp_path, f"run{round_number}", lines)
        paid_items |= told["paid"]
        settled |= told["settled"]
    with recovered(tmp_path) as (journal, _):
        results = read_results(tmp_path)["item_id"].to_pylist()
        requests = read_results(tmp_path, requests=True).to_pylist()
        answered_requests = [row["item_id"] for row in requests if row["http_status"] == 200]
        open_turns = journal.items_with_turns("f1")
        known = journal.standings([item_key(item) for item in paid_items], "f1")
    assert settled <= set(results)
    assert len(results) == len(set(results))
    assert paid_items <= set(answered_requests)
    assert len(answered_requests) == len(set(answered_requests))
    for item in paid_items:
        assert (item in set(results)) == (item_key(item) in known) == (item_key(item) not in open_turns), item
    assert len(dataset_status(tmp_path).runs) == 4


def test_the_journal_of_an_open_ledger_can_be_read_beside_it(tmp_path: Path) -> None:
    """The selection's own connection sees what is committed."""

    async def body(ledger: Ledger) -> None:
        await ledger.settle(answered("a"))
        reader = Journal(tmp_path / "_state" / "journal.sqlite", read_only=True)
        assert set(reader.standings([item_key("a"), item_key("b")], "f1")) == {item_key("a")}
        reader.close()

    with_ledger(tmp_path, body)


def test_two_ledgers_one_after_the_other_share_a_journal(tmp_path: Path) -> None:
    """What one process does twice is as two processes do it."""
    settings = DatasetSettings(tmp_path)
    journal = open_journal(tmp_path)
    recover(journal, settings)

    async def main() -> None:
        for number in range(2):
            async with open_ledger(journal, settings, RunIdentity(f"run-{number}", "f1")) as ledger:
                await caption_all(ledger, [answered(f"i{number}")])

    anyio.run(main)
    journal.close()
    assert read_results(tmp_path)["item_id"].to_pylist() == ["i0", "i1"]


def test_an_answer_that_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Item and request id stand in the log: it was paid for, and the service still knows it."""

    async def body(ledger: Ledger) -> None:
        flight = ledger.depart("a", 1, 1, MOMENT)
        await ledger.publish()
        connection = ledger._journal._db
        connection.execute("PRAGMA query_only=ON")  # a disk that takes nothing more
        with pytest.raises(OutputError):
            await ledger.arrive(flight, replace(paid("a"), request_id="req_123"))
        connection.execute("PRAGMA query_only=OFF")

    with pytest.raises(OutputError):
        with_ledger(tmp_path, body)
    assert "item a, request req_123" in caplog.text


def test_a_part_under_way_is_ended_before_the_writer_that_it_reports_to(tmp_path: Path) -> None:
    """A failure elsewhere ends the run while a part is being written: no fault of our own is added to it."""

    def full(journal: Journal) -> None:
        raise OSError(28, "No space left on device")

    async def body(ledger: Ledger) -> None:
        for number in range(20):
            await ledger.settle(replace(answered(f"i{number}"), thumbnail=os.urandom(2_000_000)))
        with anyio.fail_after(30):
            while not any((tmp_path / "results").glob("*")):
                await anyio.lowlevel.checkpoint()
        with pytest.raises(OutputError):
            await ledger.keep(full)

    with pytest.raises(OutputError, match="No space left"):
        with_ledger(tmp_path, body, settings=DatasetSettings(tmp_path, flush_seconds=0.01))
    with recovered(tmp_path):
        pass
    assert len(read_results(tmp_path)["item_id"]) == 20
