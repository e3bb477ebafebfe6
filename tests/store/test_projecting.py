"""Tables read in part: a projection and a filter give what reading whole and choosing afterwards gives."""

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, failed, write_run

from pipeline.store.parts import list_parts
from pipeline.store.projecting import Part
from pipeline.store.read import read_results
from pipeline.store.schema import Kind, part_schema

FIELD = pc.field
COLUMNS = [*part_schema(Kind.RESULTS).names, "manifest"]
FILTERS = [
    None,
    FIELD("item_id") > "b",
    FIELD("attempts") < 0,
    FIELD("manifest", "n").is_valid(),
    FIELD("manifest", "n") == "1",
    (FIELD("manifest", "title") == "A") | (FIELD("item_id") == "d"),
    FIELD("manifest").is_null(),
    pc.match_substring(FIELD("caption"), "of a"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four parts of one fingerprint whose manifests differ in columns and in types, and one of another."""
    output = tmp_path_factory.mktemp("dataset")
    write_run(output, [answered("z", manifest={"n": 5}), failed("y")], run_id="run-0", fingerprint="f0")
    write_run(output, [answered("a", manifest={"title": "A", "n": 1}), failed("x", "timeout")], run_id="run-1")
    write_run(output, [answered("b", manifest={"n": "many", "day": 2.5})], run_id="run-2")
    write_run(output, [answered("c"), failed("x", "refusal")], run_id="run-3")
    write_run(output, [answered("d", manifest={"title": "D", "n": 2.5})], run_id="run-4")
    return output


@given(columns=st.none() | st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True), wanted=st.sampled_from(FILTERS))
@settings(max_examples=60, deadline=None)
def test_a_part_of_a_table_is_what_choosing_from_the_whole_gives(
    dataset: Path, columns: list[str] | None, wanted: Any
) -> None:
    """Rows, columns, their order and their types."""
    expected = read_results(dataset, fingerprint="f1")
    if wanted is not None:
        expected = expected.filter(wanted)
    if columns is not None:
        expected = expected.select(columns)
    found = read_results(dataset, fingerprint="f1", columns=columns, filter=wanted)
    assert found.schema == expected.schema
    assert found.num_rows == expected.num_rows
    assert found.to_pylist() == expected.to_pylist()


def test_failures_and_requests_are_chosen_from_too(dataset: Path) -> None:
    """The filter sees failures as they stand: a row that a newer one replaced is not found by it."""
    find = {"failures": True, "fingerprint": "f1", "columns": ["item_id", "error_type"]}
    assert read_results(dataset, **find).to_pylist() == [{"item_id": "x", "error_type": "refusal"}]
    assert read_results(dataset, **find, filter=FIELD("error_type") == "timeout").num_rows == 0
    bill = read_results(dataset, requests=True, columns=["cost_usd"], filter=FIELD("http_status") == 200)
    assert bill.column_names == ["cost_usd"]
    assert bill.num_rows == read_results(dataset, requests=True).num_rows == 8


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"columns": ["item_id", "captoin"]}, ValueError, 'no "captoin" in this dataset; there are: item_id, '),
        ({"columns": ["thumbnail"]}, ValueError, 'no "thumbnail"'),
        ({"columns": []}, ValueError, "columns: found an empty list"),
        ({"columns": "item_id"}, TypeError, 'columns: found "item_id"; allowed: a list of names'),
        ({"filter": "cost_usd > 0"}, TypeError, "filter: found str; allowed: an expression"),
        ({"filter": FIELD("cost") > 0}, ValueError, "filter: No match for FieldRef.Name(cost)"),
        ({"filter": FIELD("cost_usd") > "text"}, ValueError, "filter: "),
    ],
)
@pytest.mark.parametrize("kind", ["results", "failures", "requests"])
def test_what_cannot_be_chosen_is_named(
    dataset: Path, kind: str, asked: dict[str, Any], error: type[Exception], text: str
) -> None:
    """With what is there, for each of the tables."""
    with pytest.raises(error) as caught:
        read_results(dataset, failures=kind == "failures", requests=kind == "requests", **asked)
    assert text in str(caught.value)


def test_an_empty_dataset_has_its_columns(tmp_path: Path) -> None:
    """From the moment at which a first run has made its folder."""
    (tmp_path / "_state").mkdir()
    assert read_results(tmp_path, columns=["caption", "item_id"]).column_names == ["caption", "item_id"]
    assert read_results(tmp_path, filter=FIELD("cost_usd") > 0).schema == part_schema(Kind.RESULTS)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """One part of 3,000 rows in three row groups, in order of their ids."""
    write_run(tmp_path, [answered("a")])
    [path] = list_parts(tmp_path, Kind.RESULTS)
    table = pq.read_table(path)
    ids = pa.array([f"i{number:04}" for number in range(3000)])
    many = pa.concat_tables([table] * 3000).set_column(0, "item_id", ids)
    pq.write_table(many, path, row_group_size=1000, write_page_checksum=True)
    return tmp_path


def damage(output: Path, group: int, column: str) -> None:
    """Turns bytes over in the middle of one column of one row group."""
    [path] = list_parts(output, Kind.RESULTS)
    rows = pq.read_metadata(path).row_group(group)
    chunk = next(rows.column(at) for at in range(rows.num_columns) if rows.column(at).path_in_schema == column)
    raw = bytearray(path.read_bytes())
    raw[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(raw)


def test_columns_that_nobody_asked_for_are_not_read(grouped: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damage in another column is not even met; whoever reads that column is told, and the part is left out."""
    damage(grouped, 1, "caption")
    with caplog.at_level(logging.WARNING):
        assert read_results(grouped, columns=["item_id", "cost_usd"]).num_rows == 3000
        assert caplog.records == []
        assert read_results(grouped, columns=["caption"]).num_rows == 0
    assert "left out, it cannot be read" in caplog.text


def test_row_groups_that_the_filter_rules_out_are_not_read(grouped: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By their statistics: what is damaged in one of them is not met."""
    damage(grouped, 0, "caption")
    with caplog.at_level(logging.WARNING):
        rows = read_results(grouped, columns=["item_id", "caption"], filter=FIELD("item_id") >= "i2500")
    assert (rows.num_rows, caplog.records) == (500, [])


def test_a_foreign_part_is_named_and_left_out(dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A table without the contract's columns is no part, even where it has those that were asked for."""
    output = tmp_path / "copy"
    shutil.copytree(dataset, output)
    pq.write_table(pa.table({"item_id": ["q"], "fingerprint": ["f1"]}), output / "results" / "part-q.parquet")
    (output / "results" / "part-r.parquet").mkdir()
    (output / "results" / "part-s.parquet").write_bytes(b"PAR1 garbage PAR1")
    found = read_results(output, fingerprint="f1", columns=["item_id"])
    assert sorted(found["item_id"].to_pylist()) == ["a", "b", "c", "d"]
    for name in ("part-q", "part-r", "part-s"):
        assert name in caplog.text


def test_the_newest_fingerprint_is_found_by_footers(grouped: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A part that is older as a whole is not read for it; one without statistics is."""
    damage(grouped, 1, "fingerprint")
    [old] = list_parts(grouped, Kind.RESULTS)
    newest = pq.read_table(old, columns=["created_at"])["created_at"][0].as_py()
    assert Part(old, Kind.RESULTS).newest() == (newest - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6
    write_run(grouped, [answered("new")], run_id="run-2", fingerprint="f2")
    caplog.clear()
    assert read_results(grouped, failures=True).num_rows == 0
    assert "part" not in caplog.text
    table = pq.read_table(next(path for path in list_parts(grouped, Kind.RESULTS) if path != old))
    pq.write_table(table, grouped / "results" / "part-zz.parquet", write_statistics=False)
    assert Part(grouped / "results" / "part-zz.parquet", Kind.RESULTS).newest() == float("inf")
    assert read_results(grouped, columns=["item_id"])["item_id"].to_pylist() == ["new", "new"]
