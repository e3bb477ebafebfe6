"""Pages by ids."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.paging import window
from pipeline.standin.problems import Problem


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_pages_in_either_direction_hold_every_id_once(total: int, limit: int, most: int, backwards: bool) -> None:
    """Whatever the limit, and where a page is smaller than it was asked for; `more` is right at each."""
    names = [f"n{at}" for at in range(total)]
    found: list[str] = []
    query: dict[str, str] = {"before_id": names[-1]} if backwards and names else {}
    while True:
        page, more = window(names, {**query, "limit": str(limit)}, "thing", most)
        assert len(page) <= min(limit, most)
        found = [*page, *found] if backwards else [*found, *page]
        if not more:
            break
        query = {"before_id": page[0]} if backwards else {"after_id": page[-1]}
    assert found == (names[:-1] if backwards else names)


def test_a_page_has_twenty_by_default() -> None:
    """As the API says."""
    assert len(window([f"n{at}" for at in range(50)], {}, "thing")[0]) == 20


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"page": "1"}, "page"),
        ({"after_id": "b"}, "no such thing: b"),
        ({"before_id": "b"}, "no such thing: b"),
        ({"after_id": "a", "before_id": "a"}, "only one"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(query: Any, word: str) -> None:
    """400, never a page of something else."""
    with pytest.raises(Problem, match=word):
        window(["a"], query, "thing")
