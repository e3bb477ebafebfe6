"""What the journal keeps of batches, as values: back from it as they went in, and silent about what they hold."""

import dataclasses
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import batch_records
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchItem, BatchRecord, Packed, Target
from pipeline.store.journal import Journal

CANARY = "canary"
TARGET = Target("http://here", "fp", "claude-haiku-4-5")
PACKED = Packed(CANARY, CANARY.encode(), CANARY.encode(), CANARY.encode())
ITEM = BatchItem(b"k" * 16, "fp", 1, "item", 1, 1, "c", 0.5, b"r", PACKED)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
BYTES = st.none() | st.binary(max_size=20)
ITEMS = st.builds(
    BatchItem,
    key=st.binary(min_size=16, max_size=16),
    fingerprint=st.just("fp"),
    batch=st.booleans(),
    item_id=TEXTS,
    turn=st.integers(1, 99),
    attempt=st.integers(0, 99),
    custom_id=TEXTS,
    worst_usd=st.floats(0, 100),
    reuse=BYTES,
    packed=st.builds(Packed, TEXTS, BYTES, BYTES, BYTES),
    done=st.booleans(),
    alone=st.booleans(),
)


@given(st.lists(ITEMS, max_size=8, unique_by=lambda item: item.key))
@settings(deadline=None, max_examples=25)
def test_items_and_batches_come_back_from_the_journal_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, items: list[BatchItem]
) -> None:
    """Every field of an item; and of a batch how many items it has, and the most that they can cost."""
    journal = Journal(tmp_path_factory.mktemp("records") / "journal.sqlite")
    with journal.transaction():
        number = book.begin_batch(journal, TARGET)
        items = [replace(item, batch=number if item.batch else None) for item in items]
        for item in items:
            book.pack(journal, item)
    assert [book.standing_of(journal, item.key, "fp") for item in items] == items
    inside = [item for item in items if item.batch == number]
    (record,) = book.batches_of(journal)
    worst = sum(item.worst_usd for item in inside)
    assert replace(record, worst_usd=0.0) == BatchRecord(number, TARGET, None, None, 0, len(inside), 0.0)
    assert record.worst_usd == pytest.approx(worst)
    journal.close()


@pytest.mark.parametrize("value", [PACKED, ITEM])
def test_no_repr_shows_what_is_kept_of_an_item(value: Any) -> None:
    """Prompts, columns and pictures stay out of logs and tracebacks."""
    assert CANARY not in repr(value)


@pytest.mark.parametrize("name", batch_records.__all__)
def test_a_record_is_frozen_and_slotted(name: str) -> None:
    """What travels between stages can be neither changed nor added to."""
    kind = getattr(batch_records, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)


def test_a_batch_is_not_released_unless_it_is_said() -> None:
    """Only what was canceled to be in time has its items asked through messages."""
    record = BatchRecord(1, TARGET, "b", datetime(2026, 1, 2, tzinfo=UTC), 3, 3, 0.1)
    assert not record.released
    assert (ITEM.done, ITEM.alone) == (False, False)
