"""What a compaction leaves for the next start: the journal is brought to what stands in the folder, or left alone."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.merging import GRACE_S, beside, finish_merges
from pipeline.store.parts import Stamp, stamp_of
from pipeline.store.schema import Kind


@contextmanager
def dataset(output: Path, *known: str, kind: Kind = Kind.RESULTS) -> Iterator[Journal]:
    """A dataset whose journal knows these parts, each a file of its own size in the table's folder."""
    table = output / kind.value
    table.mkdir(parents=True)
    with open_dataset(DatasetSettings(output)) as journal:
        with journal.transaction():
            for number, name in enumerate(known, 1):
                (table / name).write_bytes(b"x" * number)
                journal.pending.adopt_part(kind, name, stamp_of(table / name) or Stamp(0))
        yield journal


def noted(journal: Journal, *merges: list[str], kind: Kind = Kind.RESULTS) -> None:
    """The note of a compaction: new names, each before those that it stands for."""
    with journal.transaction():
        journal.note_merges(kind, json.dumps(merges))


def parts(journal: Journal) -> dict[str, int]:
    """The parts that the journal knows, and their bytes."""
    return {name: stamp.bytes for (_, name), stamp in journal.pending.known_parts().items()}


def test_a_merge_that_has_happened_is_taken_into_the_journal(tmp_path: Path) -> None:
    """The new part stands for the old ones, with its own stamp; the others stay, and the note goes."""
    with dataset(tmp_path, "part-1", "part-2", "part-3") as journal:
        noted(journal, ["part-1-compacted", "part-1", "part-2"])
        (tmp_path / "results" / "part-1-compacted").write_bytes(b"y" * 30)
        finish_merges(journal, tmp_path)
        assert parts(journal) == {"part-1-compacted": 30, "part-3": 3}
        stamp = stamp_of(tmp_path / "results" / "part-1-compacted")
        assert journal.pending.known_parts()[Kind.RESULTS, "part-1-compacted"] == stamp
        assert journal.merges() == {}


def test_a_merge_that_has_not_happened_is_forgotten(tmp_path: Path) -> None:
    """Without the new parts in the table's folder nothing changes but the note."""
    with dataset(tmp_path, "part-1", "part-2") as journal:
        noted(journal, ["part-1-compacted", "part-1", "part-2"])
        finish_merges(journal, tmp_path)
        assert parts(journal) == {"part-1": 1, "part-2": 2}
        assert journal.merges() == {}


def test_each_table_has_a_merge_of_its_own(tmp_path: Path) -> None:
    """One that happened and one that did not, and equal names in two tables are two parts."""
    with dataset(tmp_path, "part-1", "part-2") as journal:
        (tmp_path / "failures").mkdir()
        (tmp_path / "failures" / "new").write_bytes(b"y" * 9)
        noted(journal, ["new", "part-1", "part-2"])
        noted(journal, ["new", "old"], kind=Kind.FAILURES)
        finish_merges(journal, tmp_path)
        known = {key: stamp.bytes for key, stamp in journal.pending.known_parts().items()}
        assert known == {(Kind.RESULTS, "part-1"): 1, (Kind.RESULTS, "part-2"): 2, (Kind.FAILURES, "new"): 9}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.sets(st.integers(1, 3)), st.integers(1, 3))
def test_all_merges_of_a_note_happened_or_none(groups: list[int], arrived: set[int], repeats: int) -> None:
    """Folders change places in one step; finishing once or often comes to the same, and no part is lost or doubled."""
    names = [f"part-{number}" for number in range(len(groups))]
    merges = {
        number: [name for name, group in zip(names, groups, strict=True) if group == number] for number in (1, 2, 3)
    }
    merges = {number: old for number, old in merges.items() if old}
    with TemporaryDirectory() as folder, dataset(Path(folder) / "out", *names) as journal:
        noted(journal, *([f"new-{number}", *old] for number, old in merges.items()))
        for number in arrived:
            (Path(folder) / "out" / "results" / f"new-{number}").write_bytes(b"y")
        for _ in range(repeats):
            finish_merges(journal, Path(folder) / "out")
        left = [name for name, group in zip(names, groups, strict=True) if group == 0]
        done = [*left, *(f"new-{number}" for number in merges)]
        assert sorted(parts(journal)) == sorted(done if set(merges) <= arrived else names)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_replaced_folder_is_kept_for_its_time_and_then_removed(tmp_path: Path, kind: Kind) -> None:
    """Who is still listing it lists it whole; nothing beside it is touched."""
    with dataset(tmp_path, "part-1", kind=kind) as journal:
        place = beside(tmp_path, kind)
        place.mkdir()
        (place / "part-0").write_bytes(b"x")
        finish_merges(journal, tmp_path)
        assert [entry.name for entry in place.iterdir()] == ["part-0"]
        old = time.time() - GRACE_S - 60
        os.utime(place, (old, old))
        finish_merges(journal, tmp_path)
        assert not place.exists()
        assert [entry.name for entry in (tmp_path / kind.value).iterdir()] == ["part-1"]


def test_each_table_s_folder_changes_places_with_one_of_its_own(tmp_path: Path) -> None:
    """It stands on the same file system, out of the way of readers."""
    places = {beside(tmp_path, kind) for kind in Kind}
    assert len(places) == len(Kind)
    assert {place.parent for place in places} == {tmp_path / "_state"}
