"""Batches in the journal: what each write leaves behind, and what the next start makes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import batches as book
from pipeline.store.batch_moving import take_batches_along
from pipeline.store.batch_records import BatchItem, Packed, Target
from pipeline.store.journal import Journal, SettledAs, Standing

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TARGET = Target("http://here", "fp", "claude-haiku-4-5")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty one."""
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def item(number: int, batch: int | None, **changes: object) -> BatchItem:
    """An item with its number for a name."""
    made = BatchItem(bytes([number]) * 16, "fp", batch, f"item-{number}", 1, 1, f"c-{number}", 0.5, b"r", Packed("{}"))
    return BatchItem(**{name: changes.get(name, getattr(made, name)) for name in made.__slots__})  # type: ignore[arg-type]


def batch_of(journal: Journal, *numbers: int, batch_id: str | None = None, intended: bool = True) -> int:
    """A batch of these items, as far as it is said to have come."""
    with journal.transaction():
        number = book.begin_batch(journal, TARGET)
        for each in numbers:
            book.pack(journal, item(each, number))
        if intended:
            book.intend(journal, number, AT)
        if batch_id is not None:
            book.created(journal, number, batch_id)
    return number


def test_a_journal_without_batches_has_no_tables_and_answers(journal: Journal) -> None:
    """Whatever is asked of it."""
    assert book.batches_of(journal) == []
    assert book.standing_of(journal, b"k", "fp") is None
    assert book.twins_of(journal, b"k", b"r") == []
    assert book.count_items(journal, "fp") == (0, 0)
    assert book.held_keys(journal, [b"k"], "fp") == {}
    assert not book.has_leftovers(journal)
    book.mark_done(journal, b"k", "fp")


def test_what_was_being_built_is_undone(journal: Journal) -> None:
    """Its items wait as if the attempt had not been; what was intended stays."""
    batch_of(journal, 1, 2, intended=False)
    kept = batch_of(journal, 3)
    assert book.has_leftovers(journal)
    with journal.transaction():
        book.tidy(journal)
    assert [(record.number, record.size, record.intended_at) for record in book.batches_of(journal)] == [(kept, 1, AT)]
    waiting = book.standing_of(journal, item(1, None).key, "fp")
    assert waiting is not None
    assert (waiting.batch, waiting.attempt) == (None, 0)
    assert book.count_items(journal, "fp") == (1, 2)


def test_settled_items_are_let_go(journal: Journal) -> None:
    """Those that are done, and those that succeeded before their row was marked; failures that wait are kept."""
    number = batch_of(journal, 1, 2, 3, batch_id="b")
    with journal.transaction():
        book.mark_done(journal, item(1, number).key, "fp")
        for each in (2, 3):
            book.set_free(journal, item(each, number), alone=each == 3)
        journal.settle(item(2, None).key, "fp", Standing(SettledAs.SUCCEEDED))
        journal.settle(item(3, None).key, "fp", Standing(SettledAs.FAILED_RETRYABLE))
        book.tidy(journal)
    assert book.standing_of(journal, item(1, None).key, "fp") is None
    assert book.standing_of(journal, item(2, None).key, "fp") is None
    left = book.standing_of(journal, item(3, None).key, "fp")
    assert left is not None
    assert left.alone


def test_twins_are_those_that_were_asked(journal: Journal) -> None:
    """Itself, settled ones and those that were never asked are none."""
    number = batch_of(journal, 1, 2, 3)
    with journal.transaction():
        book.mark_done(journal, item(2, number).key, "fp")
        book.set_free(journal, item(3, number), alone=False)
        book.pack(journal, item(4, None, attempt=0))
    assert book.twins_of(journal, item(1, None).key, b"r") == [False]
    assert sorted(book.twins_of(journal, item(9, None).key, b"r")) == [False, True]


def test_items_are_counted_by_place(journal: Journal) -> None:
    """Batches of another service are not waited for."""
    batch_of(journal, 1, 2)
    assert book.count_items(journal, "fp", "http://here") == (2, 0)
    assert book.count_items(journal, "fp", "http://there") == (0, 0)
    assert book.count_items(journal, "fp") == (2, 0)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
@settings(deadline=None, max_examples=25)
def test_shards_take_their_items_along_and_bring_them_back(
    tmp_path_factory: pytest.TempPathFactory, firsts: list[bool], is_known: bool
) -> None:
    """Split and brought together again, a batch has all of its items, its size and its id; twice is no harm."""
    folder = tmp_path_factory.mktemp("moving")
    whole, *shards = (Journal(folder / f"{name}.sqlite") for name in ("whole", "first", "second"))
    batch_of(whole, *range(len(firsts)), batch_id="b" if is_known else None)
    mine = {f"item-{number}" for number, is_first in enumerate(firsts) if is_first}
    for _ in range(2):
        take_batches_along(shards[0], whole, lambda item_id: item_id in mine)
        take_batches_along(shards[1], whole, lambda item_id: item_id not in mine)
    assert book.batches_of(whole) == []
    sizes = [record.items for shard in shards for record in book.batches_of(shard)]
    assert sum(sizes) == len(firsts)
    assert {record.size for shard in shards for record in book.batches_of(shard)} == {len(firsts)}
    for shard in shards:
        take_batches_along(whole, shard, lambda _: True)
    (record,) = book.batches_of(whole)
    assert (record.items, record.size, record.batch_id, record.target) == (
        len(firsts),
        len(firsts),
        "b" if is_known else None,
        TARGET,
    )
    for each in (whole, *shards):
        each.close()
