"""Records: values that cannot change, that add up, and that show no image bytes."""

import dataclasses
import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import records
from pipeline.records import Attempt, ImageRecord, ImageRef, Item, Message, Mode, Outcome, PreparedImage, Usage

CLASSES = [each for _, each in inspect.getmembers(records, dataclasses.is_dataclass) if inspect.isclass(each)]
SECRET = b"canary"
EXAMPLES: list[Any] = [
    ImageRef("a.jpg", SECRET),
    Item("1", (ImageRef("a.jpg", SECRET),), {"image": SECRET}),
    PreparedImage(SECRET, ImageRecord("a.jpg"), SECRET),
    Message("user", (PreparedImage(SECRET, ImageRecord("a.jpg")), "text")),
    Attempt("1", 1, 1, datetime.now(UTC), 1.0, answer=SECRET),
    Outcome(Item("1", ()), thumbnail=SECRET),
]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_record_is_frozen_and_slotted(kind: type) -> None:
    """What travels between stages can be neither changed nor added to, and is exported by name."""
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(kind)
    assert kind.__name__ in records.__all__


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: type(value).__name__)
def test_no_repr_shows_bytes(value: Any) -> None:
    """Images, answers and rows stay out of logs and tracebacks."""
    assert "canary" not in repr(value)


def test_the_modes_are_those_of_the_interface() -> None:
    """`results.mode` has these three values."""
    assert [str(mode) for mode in Mode] == ["messages", "batches", "reused"]


def test_an_image_record_has_the_columns_of_the_interface() -> None:
    """The struct of the `images` column, in its documented order."""
    names = [each.name for each in dataclasses.fields(ImageRecord)]
    assert names == [
        "source",
        "sha256",
        "media_type",
        "width",
        "height",
        "bytes",
        "sent_sha256",
        "sent_media_type",
        "sent_width",
        "sent_height",
        "sent_bytes",
        "warnings",
    ]


counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@given(st.lists(usages, max_size=4))
@settings(deadline=None, max_examples=60)
def test_usage_adds_up_field_by_field(parts: list[Usage]) -> None:
    """A sum has in every field the sum of that field, whatever the order; nothing added is nothing changed."""
    total = sum(parts, Usage())
    for field in dataclasses.fields(Usage):
        assert getattr(total, field.name) == sum(getattr(part, field.name) for part in parts)
    assert sum(reversed(parts), Usage()) == total
