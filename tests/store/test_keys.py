"""Keys of items."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.keys import clean, duplicate_key, item_key

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT)
def test_the_key_of_an_id_is_that_of_the_text_that_parts_hold(item_id: str) -> None:
    """An index made anew from parts, which hold cleaned text, knows the same keys."""
    assert item_key(item_id) == item_key(clean(item_id))
    assert duplicate_key(item_id, [item_id]) == duplicate_key(clean(item_id), [clean(item_id)])


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT)
def test_cleaned_text_can_be_encoded_and_sound_text_is_left_alone(text: str) -> None:
    """Only what UTF-8 cannot hold is changed."""
    assert clean(text).encode().decode() == clean(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert clean(text) == text


def test_keys_differ_by_id_and_by_images() -> None:
    """A duplicate id is another item for each set of images, and none of them is the first one."""
    keys = {item_key("a"), item_key("b"), *(duplicate_key("a", images) for images in ([], ["x"], ["x", "y"], ["x\ny"]))}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {16}
