"""Batches in flight brought from one journal into another, whatever state they are in."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.store import batches as book
from pipeline.store.batch_moving import take_batches_along
from pipeline.store.batch_records import BatchItem, Packed, Target
from pipeline.store.journal import Journal

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TARGET = Target("http://here", "fp", "claude-haiku-4-5")
PACKED = Packed('{"texts": []}', b"schema", b"row", b"thumbnail")
Journals = Callable[[str], Journal]


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    """Opens journals by name."""
    with ExitStack() as stack:

        def opened(name: str) -> Journal:
            return stack.enter_context(closing(Journal(tmp_path / f"{name}.sqlite")))

        yield opened


def key(number: int) -> bytes:
    """Of the item of that number."""
    return bytes([number]) * 16


def batch_of(journal: Journal, *numbers: int, batch_id: str | None = "b", at: datetime | None = AT) -> int:
    """A batch of these items; one without a time is still being built."""
    with journal.transaction():
        number = book.begin_batch(journal, TARGET)
        for each in numbers:
            item = BatchItem(key(each), "fp", number, f"item-{each}", 2, 3, f"c-{each}", 0.25, b"r", PACKED)
            book.pack(journal, item)
        if at is not None:
            book.intend(journal, number, at)
        if batch_id is not None:
            book.created(journal, number, batch_id)
    return number


def everything(_: str) -> bool:
    """All items are one's own."""
    return True


def test_an_item_moves_with_all_that_settling_needs(journals: Journals) -> None:
    """Only its batch's number is another."""
    whole, shard = journals("whole"), journals("shard")
    batch_of(shard, 8, batch_id="earlier", at=AT.replace(hour=1))
    batch_of(whole, 1)
    before = book.standing_of(whole, key(1), "fp")
    take_batches_along(shard, whole, everything)
    after = book.standing_of(shard, key(1), "fp")
    assert before is not None
    assert after is not None
    assert replace(after, batch=before.batch) == before
    assert after.batch is not None
    record = book.record_of(shard, after.batch)
    assert record is not None
    assert (record.batch_id, record.intended_at, record.size, record.items) == ("b", AT, 1, 1)
    assert book.standing_of(whole, key(1), "fp") is None


def test_what_was_being_built_moves_as_items_that_wait(journals: Journals) -> None:
    """Nothing of it was sent: the attempt has not been, and there is no batch."""
    whole, shard = journals("whole"), journals("shard")
    batch_of(whole, 1, 2, batch_id=None, at=None)
    take_batches_along(shard, whole, everything)
    assert book.batches_of(whole) == book.batches_of(shard) == []
    for number in (1, 2):
        item = book.standing_of(shard, key(number), "fp")
        assert item is not None
        assert (item.batch, item.turn, item.attempt) == (None, 2, 2)


def test_what_is_anothers_stays(journals: Journals) -> None:
    """With its batch, which has the size that the service knows."""
    whole, shard = journals("whole"), journals("shard")
    batch_of(whole, 1, 2, 3)
    take_batches_along(shard, whole, lambda item_id: item_id == "item-2")
    (left,), (moved,) = book.batches_of(whole), book.batches_of(shard)
    assert (left.items, left.size, moved.items, moved.size) == (2, 3, 1, 3)
    assert book.item_of(whole, left.number, "c-2") is None
    assert book.item_of(shard, moved.number, "c-2") is not None


@pytest.mark.parametrize("knower", [0, 1])
def test_an_id_that_one_shard_found_is_known_to_the_whole(journals: Journals, knower: int) -> None:
    """Whichever is brought in first; and so it is with a release."""
    whole, shards = journals("whole"), [journals("first"), journals("second")]
    batch_of(whole, 1, 2, batch_id=None)
    for number, shard in enumerate(shards, 1):
        take_batches_along(shard, whole, lambda item_id, mine=f"item-{number}": item_id == mine)  # type: ignore[misc]
    (record,) = book.batches_of(shards[knower])
    with shards[knower].transaction():
        book.created(shards[knower], record.number, "found")
        book.release(shards[knower], record.number)
    for shard in shards:
        take_batches_along(whole, shard, everything)
    (record,) = book.batches_of(whole)
    assert (record.batch_id, record.released, record.items) == ("found", True, 2)


def test_two_batches_stay_two(journals: Journals) -> None:
    """Of one size and one place they are told apart by the moment at which they were intended."""
    whole, shard = journals("whole"), journals("shard")
    batch_of(whole, 1, batch_id="one")
    batch_of(whole, 2, batch_id="two", at=AT.replace(microsecond=679))
    take_batches_along(shard, whole, everything)
    assert [(each.batch_id, each.items) for each in book.batches_of(shard)] == [("one", 1), ("two", 1)]


def test_a_crash_between_copy_and_removal_loses_and_doubles_nothing(journals: Journals, tmp_path: Path) -> None:
    """Both have the items then; the next start takes them once more."""
    whole, shard = journals("whole"), journals("shard")
    batch_of(whole, 1, 2)
    with closing(sqlite3.connect(tmp_path / "before.sqlite")) as copy:
        whole.database.connection.backup(copy)
    take_batches_along(shard, whole, everything)
    take_batches_along(shard, journals("before"), everything)
    (record,) = book.batches_of(shard)
    assert (record.batch_id, record.items, record.size) == ("b", 2, 2)


def test_a_batch_without_items_is_taken_by_nobody(journals: Journals) -> None:
    """Its results were all taken in before a crash: there is nothing to collect."""
    whole, shard = journals("whole"), journals("shard")
    number = batch_of(shard, 1)
    item = book.standing_of(shard, key(1), "fp")
    assert item is not None
    with shard.transaction():
        book.mark_done(shard, key(1), "fp")
        assert book.items_of(shard, number, 9) == []
        book.tidy(shard)
    take_batches_along(whole, shard, everything)
    assert book.batches_of(whole) == []
    assert book.count_items(whole, "fp") == (0, 0)


def test_a_journal_that_never_had_batches_gives_none_and_gets_no_tables(journals: Journals) -> None:
    """Neither of the two is written to."""
    whole, shard = journals("whole"), journals("shard")
    take_batches_along(whole, shard, everything)
    for journal in (whole, shard):
        tables = journal.database.connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'batch%'")
        assert tables.fetchall() == []
