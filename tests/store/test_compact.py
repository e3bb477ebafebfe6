"""Small parts merged: the same rows in fewer files, whoever looks and whenever it is broken off."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.datasets import answered, failed, recovered, snapshot, write_run

from pipeline.errors import OutputError, OutputHeldError
from pipeline.store.compact import compact
from pipeline.store.dataset import open_dataset
from pipeline.store.exchange import exchange
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import item_key
from pipeline.store.merging import GRACE_S, beside
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.schema import Kind


def make(output: Path, runs: int = 4) -> None:
    """A dataset of as many small parts in each table."""
    for number in range(runs):
        outcomes = [answered(f"a{number}", manifest={"title": f"T{number}"}), answered(f"b{number}")]
        write_run(output, [*outcomes, failed(f"c{number}")], run_id=f"run-{number}")


def content(output: Path) -> list[list[dict[str, object]]]:
    """Every row of every table, in a settled order."""
    tables = [read_results(output), read_results(output, failures=True), read_results(output, requests=True)]
    return [sorted(table.to_pylist(), key=str) for table in tables]


def test_the_same_rows_stand_in_fewer_parts(tmp_path: Path) -> None:
    """Nothing else changes: the next start finds everything in order, and a second compaction nothing to do."""
    make(tmp_path)
    before = content(tmp_path)
    found = compact(tmp_path)
    # rows with and without manifest columns stand in parts of their own until then
    assert (found.before, found.after) == (16, 3)
    assert content(tmp_path) == before
    whole = snapshot(tmp_path)
    assert compact(tmp_path).before == 3
    with recovered(tmp_path) as (journal, recovery):
        assert recovery.parts_adopted == recovery.parts_rewritten == 0
        assert len(journal.standings([item_key(f"a{number}") for number in range(4)], "f1")) == 4
    assert snapshot(tmp_path) == whole


def test_large_parts_are_left_alone_and_small_ones_fill_up_to_the_bound(tmp_path: Path) -> None:
    """A part of half the bound is large; merged parts are no larger than the bound."""
    write_run(tmp_path, [answered(f"a{number:02}") for number in range(10)], run_id="run-0")
    for number in range(5):
        write_run(tmp_path, [answered(f"b{number}{letter}") for letter in "xyz"], run_id=f"run-1{number}")
    large = list_parts(tmp_path, Kind.RESULTS)[0].name
    compact(tmp_path, rows_per_file=10)
    parts = list_parts(tmp_path, Kind.RESULTS)
    assert [pq.read_metadata(part).num_rows for part in parts] == [10, 9, 6]
    assert parts[0].name == large


def test_what_else_stands_in_the_folder_stays(tmp_path: Path) -> None:
    """Files are carried along; a folder is not ours to move, so nothing is done."""
    make(tmp_path)
    (tmp_path / "results" / "notes.txt").write_text("mine")
    compact(tmp_path)
    assert (tmp_path / "results" / "notes.txt").read_text() == "mine"
    make(tmp_path / "two")
    (tmp_path / "two" / "results" / "mine").mkdir()
    before = len(list_parts(tmp_path / "two", Kind.RESULTS))
    with pytest.raises(OutputError, match="nothing was changed"):
        compact(tmp_path / "two")
    assert len(list_parts(tmp_path / "two", Kind.RESULTS)) == before


def test_a_reader_that_listed_before_finds_names_gone_and_no_other_rows_under_them(tmp_path: Path) -> None:
    """An error that tells to list again, never a wrong answer; our own reader looks again by itself."""
    make(tmp_path)
    listed = list_parts(tmp_path, Kind.RESULTS)
    compact(tmp_path)
    for path in listed:
        with pytest.raises(FileNotFoundError):
            pq.read_table(path)
    assert read_results(tmp_path).num_rows == 8


def test_a_reader_that_is_still_listing_the_old_folder_lists_it_whole(tmp_path: Path) -> None:
    """The replaced folder is kept for a while, and then removed by a start."""
    make(tmp_path)
    folder = os.open(tmp_path / "results", os.O_RDONLY)
    names = {entry.name for entry in os.scandir(folder)}
    compact(tmp_path)
    assert {entry.name for entry in os.scandir(folder)} == names
    os.close(folder)
    place = beside(tmp_path, Kind.RESULTS)
    with recovered(tmp_path):
        assert place.is_dir()
    old = place.stat().st_mtime - GRACE_S - 1
    os.utime(place, (old, old))
    with recovered(tmp_path):
        assert not place.exists()


@pytest.mark.parametrize("is_exchanged", [False, True])
def test_a_compaction_that_was_broken_off_is_finished_or_forgotten(tmp_path: Path, is_exchanged: bool) -> None:
    """Before the folders changed places nothing has happened, after it everything."""
    done, saved = tmp_path / "done", tmp_path / "saved"
    make(done)
    before = content(done)
    shutil.copytree(done, saved, copy_function=shutil.copy2)
    compact(done)
    names = sorted(path.name for path in (done / "results").iterdir())
    place = beside(saved, Kind.RESULTS)
    shutil.copytree(done / "results", place, copy_function=shutil.copy2)
    old = sorted(path.name for path in (saved / "results").iterdir())
    with open_dataset(DatasetSettings(saved)) as journal, journal.transaction():
        journal.note_merges(Kind.RESULTS, json.dumps([[names[0], *old]]))
    if is_exchanged:
        exchange(saved / "results", place)
    with recovered(saved) as (journal, recovery):
        assert journal.merges() == {}
        assert recovery.parts_adopted == 0
        assert {name for kind, name in journal.pending.known_parts() if kind is Kind.RESULTS} == set(
            names if is_exchanged else old
        )
    assert content(saved) == before


def test_an_answer_is_found_where_it_stands_now(tmp_path: Path) -> None:
    """Identical requests are still copied after a compaction."""
    make(tmp_path)
    compact(tmp_path)
    write_run(tmp_path, [answered("a1", caption="new")], run_id="run-9")
    assert {row["item_id"]: row["caption"] for row in read_results(tmp_path).to_pylist()}["a1"] == "new"
    assert dataset_status(tmp_path).succeeded == 8


def test_a_damaged_part_is_no_reason_to_lose_the_others(tmp_path: Path) -> None:
    """It is set aside by the start, named, and the rest is merged."""
    make(tmp_path)
    part = list_parts(tmp_path, Kind.RESULTS)[0]
    part.write_bytes(part.read_bytes()[:-20])
    rows = read_results(tmp_path).num_rows
    compact(tmp_path)
    assert read_results(tmp_path).num_rows == rows


def test_what_is_no_dataset_or_held_is_refused(tmp_path: Path) -> None:
    """No folder is made, and a run is not disturbed."""
    with pytest.raises(OutputError, match="no dataset"):
        compact(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    make(tmp_path / "out", runs=2)
    with open_dataset(DatasetSettings(tmp_path / "out")), pytest.raises(OutputHeldError):
        compact(tmp_path / "out")
