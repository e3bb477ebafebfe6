"""What is kept of an item while it is in a batch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines.batches.skeletons import packed, unpacked
from pipeline.engines.preparing import ReadyItem
from pipeline.prompts.plan import TurnPlan
from pipeline.records import ImageLink, ImageRecord, Item, PreparedImage
from pipeline.store.batch_records import BatchItem

TEXTS = st.text(max_size=30)
SIZES = st.none() | st.integers(1, 9999)
RECORDS = st.builds(
    ImageRecord,
    source=TEXTS,
    sha256=st.none() | TEXTS,
    width=SIZES,
    height=SIZES,
    sent_sha256=st.none() | TEXTS,
    sent_bytes=SIZES,
    warnings=st.lists(TEXTS, max_size=2).map(tuple),
)
LINKS = st.none() | st.builds(ImageLink, kind=st.sampled_from(["url", "file"]), target=TEXTS)
IMAGES = st.lists(st.builds(PreparedImage, body=st.binary(max_size=5), record=RECORDS, link=LINKS), max_size=3)


@st.composite
def ready_items(draw: st.DrawFn) -> ReadyItem:
    """Items with any images in any turns."""
    images = draw(IMAGES)
    turns = draw(st.lists(st.lists(st.sampled_from(images), max_size=3) if images else st.just([]), max_size=3))
    texts = draw(st.lists(TEXTS, min_size=len(turns), max_size=len(turns)))
    plan = TurnPlan(tuple(texts), tuple(map(tuple, turns)), draw(TEXTS), draw(st.booleans()))
    return ReadyItem(draw(st.binary(min_size=16, max_size=16)), Item(draw(TEXTS), ()), tuple(images), plan)


@given(ready_items())
@settings(deadline=None, max_examples=100)
def test_an_item_comes_back_as_it_was_asked(ready: ReadyItem) -> None:
    """Everything but the bytes of its images: texts, which image goes with which turn, records and links."""
    kept = BatchItem(ready.key, "f", 1, ready.item.item_id, 1, 1, "c", 0.0, None, packed(ready))
    back = unpacked(kept)
    assert (back.key, back.item.item_id, back.records) == (ready.key, ready.item.item_id, ready.records)
    assert (back.plan.texts, back.plan.prefill, back.plan.label) == (
        ready.plan.texts,
        ready.plan.prefill,
        ready.plan.label,
    )
    assert [[image.link for image in turn] for turn in back.plan.images] == [
        [image.link for image in turn] for turn in ready.plan.images
    ]
    assert [[image.record for image in turn] for turn in back.plan.images] == [
        [image.record for image in turn] for turn in ready.plan.images
    ]
    assert not any(image.body for image in back.images)
