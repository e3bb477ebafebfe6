"""Some rows out of many: a stable choice, and rows by their places."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, write_run

from pipeline.store.picking import RowPlace, rows_at, stable_sample
from pipeline.store.schema import Kind


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of twenty answers, and one under another fingerprint."""
    place = tmp_path_factory.mktemp("picking") / "out"
    write_run(place, [answered(f"item-{number}") for number in range(20)])
    write_run(place, [answered(f"item-{number}") for number in range(20, 40)], run_id="run-2")
    write_run(place, [answered("item-0")], run_id="run-3", fingerprint="f2")
    return place


def test_a_smaller_sample_is_the_head_of_a_larger_one(output: Path) -> None:
    """The order goes by the ids alone, and holds one fingerprint."""
    every = stable_sample(output, Kind.RESULTS, "f1", 1000)
    assert len(every) == 40
    assert stable_sample(output, Kind.RESULTS, "f1", 7) == every[:7]
    ids = [row["item_id"] for row in rows_at(every, Kind.RESULTS) if row]
    assert sorted(ids) == sorted(f"item-{number}" for number in range(40))
    assert ids[:10] != sorted(ids)[:10]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_rows_come_in_the_order_of_their_places(output: Path, data: st.DataObject) -> None:
    """Any places, in any order and twice, give their rows."""
    every = stable_sample(output, Kind.RESULTS, "f1", 1000)
    ids = {place: row["item_id"] for place, row in zip(every, rows_at(every, Kind.RESULTS), strict=True) if row}
    wanted = data.draw(st.lists(st.sampled_from(every), max_size=30))
    assert [row and row["item_id"] for row in rows_at(wanted, Kind.RESULTS)] == [ids[place] for place in wanted]


def test_a_part_that_is_gone_gives_no_rows(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and the rest is there."""
    good = stable_sample(output, Kind.RESULTS, "f1", 1)[0]
    found = rows_at([RowPlace(output / "results" / "part-gone.parquet", 0), good], Kind.RESULTS)
    assert found[0] is None
    assert found[1] is not None
    assert "part-gone.parquet" in caplog.text
