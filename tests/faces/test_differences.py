"""Where two captions differ."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.faces.differences import marked


def test_words_that_differ_are_marked() -> None:
    """On each side its own; what is the same is not."""
    left, right = marked("a red boat, at sea", "a blue boat, at sea")
    assert left == [("a ", False), ("red", True), (" boat, at sea", False)]
    assert right == [("a ", False), ("blue", True), (" boat, at sea", False)]
    assert marked("same", "same") == ([("same", False)], [("same", False)])
    assert marked("", "new") == ([], [("new", True)])


def test_very_long_texts_are_not_compared() -> None:
    """Each is one piece."""
    long = "word " * 5000
    assert marked(long, "short") == ([(long, True)], [("short", True)])


@given(one=st.text(max_size=60), other=st.text(max_size=60))
def test_pieces_are_the_texts(one: str, other: str) -> None:
    """Joined again nothing is lost, and what both have unmarked is the same."""
    left, right = marked(one, other)
    assert "".join(text for text, _ in left) == one
    assert "".join(text for text, _ in right) == other
    same = ["".join(text for text, differs in side if not differs) for side in (left, right)]
    assert same[0] == same[1]
