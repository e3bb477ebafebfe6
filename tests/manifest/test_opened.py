"""What every kind of manifest has in common."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ManifestError
from pipeline.manifest.opened import BATCH_BYTES, BATCH_ROWS, MAX_COLUMNS, Layout, ManifestSettings, grouped

LAYOUT = Layout(ManifestSettings("m.csv", image_columns=("front", "back")), "m.csv")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3 * BATCH_ROWS))
def test_groups_hold_every_row_in_order_and_none_is_empty(count: int) -> None:
    """All but the last are full."""
    groups = list(grouped(iter(range(count))))
    assert [row for group in groups for row in group] == list(range(count))
    assert all(len(group) == BATCH_ROWS for group in groups[:-1])
    assert all(groups)


def test_groups_of_large_rows_are_cut_by_bytes() -> None:
    """Rows of 5 MB make groups of four, whatever the number of rows allows."""
    consumed = 0

    def reading() -> Iterator[int]:
        nonlocal consumed
        for row in range(10):
            consumed += 5 * 1024 * 1024
            yield row

    groups = list(grouped(reading(), lambda: consumed))
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert 4 * 5 * 1024 * 1024 >= BATCH_BYTES > 3 * 5 * 1024 * 1024


def test_every_image_column_must_be_there() -> None:
    """The message names the column, those that there are, and the setting."""
    with pytest.raises(
        ManifestError, match=r'm\.csv: no column "back" .* there are: id, front; .*manifest\.image_column'
    ):
        LAYOUT.reader(("id", "front"))


def test_too_many_columns_and_repeated_ones_are_refused() -> None:
    """Both are told before a row is read."""
    with pytest.raises(ManifestError, match=f"allowed: {MAX_COLUMNS}"):
        LAYOUT.reader(("front", "back", *(str(number) for number in range(MAX_COLUMNS))))
    with pytest.raises(ManifestError, match='column "x" stands twice'):
        LAYOUT.reader(("front", "x", "back", "x"))


def test_extras_are_the_columns_that_are_neither_id_nor_image() -> None:
    """In the manifest's order."""
    assert LAYOUT.extras(("z", "id", "back", "a", "front")) == ["z", "a"]
