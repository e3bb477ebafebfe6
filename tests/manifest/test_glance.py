"""Lazy batches: what they tell without items is what the items would."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.glance import LazyItems, glanced, rows_of
from pipeline.manifest.identity import refs_digest
from pipeline.manifest.producer import ManifestSettings, open_manifest
from pipeline.records import ImageRef, Item

CELLS = st.one_of(st.sampled_from(["", "a.jpg", "a.jpg|b.jpg", "|", " ", "ä.png", "x" * 20_000]), st.text(max_size=5))


def agrees(path: Path) -> list[Item]:
    """Every item of a manifest; ids, digests and places were asked for first and are the items' own."""
    items: list[Item] = []
    with open_manifest(ManifestSettings(str(path))) as manifest:
        for batch in map(glanced, manifest.batches()):
            told = batch.ids(), batch.digests(), [batch.place(at) for at in range(len(batch))]
            made = list(batch)
            assert told == (
                [item.item_id for item in made],
                [refs_digest(item.images) for item in made],
                [item.place for item in made],
            )
            items += made
    return items


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_csv_rows_are_told_as_their_items_would_be(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """Empty cells, lists, ragged rows and NULs among them."""
    path = tmp_path_factory.mktemp("csv") / "photos.csv"
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "title"])
        writer.writerows([["first", "first.jpg", ""], *rows])
    agrees(path)


IDS: list[Any] = [pa.string(), pa.large_string(), pa.int64(), pa.float64(), pa.binary(), pa.bool_()]


@pytest.mark.parametrize("kind", IDS, ids=str)
@given(st.data())
@settings(deadline=None, max_examples=15)
def test_parquet_rows_are_told_as_their_items_would_be(
    tmp_path_factory: pytest.TempPathFactory, kind: pa.DataType, data: st.DataObject
) -> None:
    """Ids of every type, nulls, and images that are no text."""
    values: dict[Any, st.SearchStrategy[Any]] = {
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.float64(): st.floats(),
        pa.binary(): st.binary(max_size=4),
        pa.bool_(): st.booleans(),
    }
    ids = data.draw(st.lists(st.none() | values.get(kind, st.text(max_size=4)), min_size=1, max_size=150))
    images = data.draw(st.lists(st.none() | CELLS, min_size=len(ids), max_size=len(ids)))
    path = tmp_path_factory.mktemp("parquet") / "photos.parquet"
    pq.write_table(pa.table({"id": pa.array(ids, kind), "image": pa.array(images, pa.string())}), path)
    assert len(agrees(path)) == len(ids)


def test_items_are_made_once_and_only_when_they_are_looked_at() -> None:
    """Ids and digests of plain rows make none."""
    made: list[int] = []

    def make() -> list[Item]:
        made.append(1)
        return [Item("a", (ImageRef("a.jpg"),)), Item("b", ())]

    plain = LazyItems([("a", "a.jpg"), ("b", "b.jpg")], make, str)
    assert (plain.ids(), len(plain), made) == (["a", "b"], 2, [])
    plain.digests()
    assert made == []
    assert [item.item_id for item in plain] == ["a", "b"]
    assert plain[1:] == [plain[1]]
    assert made == [1]


def test_what_is_not_plain_is_told_by_its_item() -> None:
    """Booleans are no numbers, a list separator makes a list, and an overlong id is a fault of its row."""
    ids: list[object] = ["a", 7, True, None, "", "x" * 70_000, "a", "a"]
    images: list[object] = ["a.jpg", "b.jpg", "c", "d", "e", "f", "g|h", b"i"]
    assert rows_of(ids, images, "|") == [("a", "a.jpg"), ("7", "b.jpg"), None, None, None, None, None, None]
    assert rows_of(["a"], ["g|h"], None) == [("a", "g|h")]
