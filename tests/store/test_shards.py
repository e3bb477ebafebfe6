"""Shards: which items and which parts belong to which."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.identity import DatasetSettings
from pipeline.store.places import state_path
from pipeline.store.shards import Shard, unmarked

COUNTS = st.integers(1, 40)


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    """Any shard of a small N."""
    of = draw(COUNTS)
    return Shard(draw(st.integers(1, of)), of)


@given(st.text(min_size=1), COUNTS)
@settings(deadline=None, max_examples=50)
def test_every_item_is_in_exactly_one_shard(item_id: str, of: int) -> None:
    """Whatever N is, so that no item is answered twice and none is left out."""
    assert sum(Shard(index, of).holds(item_id) for index in range(1, of + 1)) == 1


@given(shards(), shards(), st.lists(st.text(min_size=1), max_size=50))
@settings(deadline=None, max_examples=100)
def test_shards_that_share_an_item_are_known_to_meet(one: Shard, other: Shard, ids: list[str]) -> None:
    """A part is passed over only where none of its items can be the shard's."""
    shared = any(one.holds(item_id) and other.holds(item_id) for item_id in ids)
    assert one.meets(other) or not shared
    assert one.meets(other) == other.meets(one)


def test_shards_of_one_n_meet_themselves_alone() -> None:
    """So a start opens no part of its neighbours."""
    assert [Shard(3, 8).meets(Shard(index, 8)) for index in range(1, 9)] == [index == 3 for index in range(1, 9)]
    assert Shard(1, 2).meets(Shard(3, 4))
    assert not Shard(1, 2).meets(Shard(2, 4))
    assert Shard(1, 2).meets(Shard(2, 3))


@given(shards())
@settings(deadline=None, max_examples=30)
def test_a_part_tells_its_shard_by_its_name(shard: Shard) -> None:
    """The mark goes in and comes out again, and can be taken away."""
    made = DatasetSettings(Path("out"), shard=shard)
    name = made.part_name("20260101T000000Z-ab12cd34", 7)
    assert Shard.of_part(name) == shard
    assert unmarked(name) == DatasetSettings(Path("out")).part_name("20260101T000000Z-ab12cd34", 7)
    assert Shard.of_folder(state_path(Path("out"), shard).name) == shard


@pytest.mark.parametrize(
    "name",
    [
        "part-20260101T000000Z-ab12cd34-00001.parquet",
        "part-run-0-of-8-00001.parquet",
        "part-run-9-of-8-00001.parquet",
        "part-run-3-of-8-00001-compacted-20260101.parquet",
        "part-3-of-8.parquet",
    ],
)
def test_a_name_without_a_mark_may_hold_any_item(name: str) -> None:
    """Parts of runs without shards, merged ones and foreign ones are looked into."""
    assert Shard.of_part(name) is None
    assert Shard(1, 5).may_be_in(name)


@pytest.mark.parametrize("name", ["lock", "3-of-", "3-of-8.old", "0-of-3", "4-of-3"])
def test_a_folder_of_another_name_is_no_shards(name: str) -> None:
    """What somebody else put there is left alone."""
    assert Shard.of_folder(name) is None
