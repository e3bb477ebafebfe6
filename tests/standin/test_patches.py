"""Visual tokens against the documentation's table, and the shrink against its own definition."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.models import MODELS
from pipeline.standin.patches import fits, seen_size, visual_tokens

STANDARD = MODELS["claude-haiku-4-5-20251001"]
HIGH = MODELS["claude-sonnet-5-5"]

TABLE = [
    (1, 1, (1, 1), 1, (1, 1), 1),
    (29, 28, (29, 28), 2, (29, 28), 2),
    (200, 200, (200, 200), 64, (200, 200), 64),
    (1092, 1092, (1092, 1092), 1521, (1092, 1092), 1521),
    (1093, 1093, (1092, 1092), 1521, (1093, 1093), 1600),
    (953, 1270, (952, 1269), 1564, (953, 1270), 1610),
    (897, 1346, (896, 1345), 1568, (897, 1346), 1617),
    (785, 1570, (784, 1568), 1568, (785, 1570), 1653),
    (3000, 10, (1568, 5), 56, (2576, 9), 92),
    (100, 7000, (22, 1568), 56, (37, 2576), 184),
    (1075, 1520, (924, 1307), 1551, (1075, 1520), 2145),
    (1920, 1080, (1456, 819), 1560, (1920, 1080), 2691),
    (2000, 1500, (1270, 952), 1564, (2000, 1500), 3888),
    (2577, 1450, (1456, 819), 1560, (2576, 1449), 4784),
    (8000, 8000, (1092, 1092), 1521, (1932, 1932), 4761),
    (8000, 100, (1568, 20), 56, (2576, 32), 184),
]


@pytest.mark.parametrize("row", TABLE)
def test_sizes_and_tokens_are_those_of_the_table(row: tuple[Any, ...]) -> None:
    """Both tiers see the size, and cost the tokens, that the patch rule's published table states."""
    width, height, standard, standard_tokens, high, high_tokens = row
    assert seen_size(width, height, STANDARD) == standard
    assert visual_tokens(width, height, STANDARD) == standard_tokens
    assert seen_size(width, height, HIGH) == high
    assert visual_tokens(width, height, HIGH) == high_tokens


def test_a_long_edge_that_is_no_multiple_of_a_patch_is_rounded_up_before_it_is_compared() -> None:
    """An edge of 1569 px takes 57 patches, which are wider than the standard tier's 1568 px."""
    assert fits(1568, 28, STANDARD)
    assert not fits(1569, 28, STANDARD)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_seen_size_is_the_largest_that_fits(width: int, height: int) -> None:
    """No longer edge below the original fits, as a plain search from above finds too."""
    long, short = max(width, height), min(width, height)
    wanted = next(edge for edge in range(long, 0, -1) if fits(edge, max(1, round(edge * short / long)), STANDARD))
    assert max(seen_size(width, height, STANDARD)) == wanted


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8000), st.integers(1, 8000))
def test_turning_a_picture_changes_neither_its_tokens_nor_its_shape(width: int, height: int) -> None:
    """A picture and its transpose cost the same and are seen as transposes."""
    assert visual_tokens(width, height, HIGH) == visual_tokens(height, width, HIGH) <= 4784
    if width != height:
        assert seen_size(width, height, HIGH) == seen_size(height, width, HIGH)[::-1]
