"""Parts: whole or not there."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.small_disks import mounted_disk

from pipeline.store.parts import (
    Stamp,
    folder,
    is_whole,
    list_parts,
    made_folder,
    stamp_of,
    sweep,
    write_part,
    write_whole,
)
from pipeline.store.schema import Kind

TABLE = pa.table({"item_id": [f"item {number}" for number in range(300)], "n": list(range(300))})


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a whole part."""
    path = tmp_path_factory.mktemp("parts") / "part-1.parquet"
    write_part(path, TABLE.schema, [TABLE], "zstd")
    return path.read_bytes()


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_a_part_holds_its_tables_one_after_the_other(tmp_path: Path, compression: str) -> None:
    """Folders are made, each table is a row group, and the stamp is told."""
    path = tmp_path / "out" / "results" / "part-1.parquet"
    stamp = write_part(path, TABLE.schema, [TABLE.slice(0, 100), TABLE.slice(100)], compression)
    assert stamp == stamp_of(path) == Stamp(path.stat().st_size, path.stat().st_mtime_ns)
    assert pq.read_table(path).equals(TABLE)
    assert pq.read_metadata(path).num_row_groups == 2
    assert list_parts(tmp_path / "out", Kind.RESULTS) == [path]
    assert is_whole(path)


def test_a_part_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """Neither a part nor a temporary file stands there when its rows could not be had."""

    def tables() -> Iterator[pa.Table]:
        yield TABLE
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_part(tmp_path / "part-1.parquet", TABLE.schema, tables(), "zstd")
    assert list(tmp_path.iterdir()) == []


def test_a_small_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """What stood there before stands until the new content is in its place."""
    path = tmp_path / "note.json"
    write_whole(path, b"old")
    write_whole(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]
    assert path.read_bytes() == b"new"


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    """A planted link does not make the program write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".tmp-note.json").symlink_to(victim)
    write_whole(tmp_path / "note.json", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "note.json").read_bytes() == b"new"


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
@example(share=0.6486820022000372, flip=128, cut=False)
def test_a_damaged_part_is_not_whole_or_reads_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, part: bytes, share: float, flip: int, *, cut: bool
) -> None:
    """Garbled or cut at any byte, a part never passes for whole with other rows in it."""
    at = int(share * len(part))
    damaged = part[:at] if cut else part[:at] + bytes([part[at] ^ flip]) + part[at + 1 :]
    path = tmp_path_factory.mktemp("damaged") / "part-1.parquet"
    path.write_bytes(damaged)
    if is_whole(path):
        assert not cut
        assert pq.read_table(path).to_pydict().get("n", TABLE["n"].to_pylist()) == TABLE["n"].to_pylist()


def test_what_is_no_regular_file_is_no_part(tmp_path: Path) -> None:
    """A folder or a pipe of a part's name is told without blocking."""
    (tmp_path / "part-1.parquet").mkdir()
    os.mkfifo(tmp_path / "part-2.parquet")
    assert not is_whole(tmp_path / "part-1.parquet")
    assert not is_whole(tmp_path / "part-2.parquet")
    assert not is_whole(tmp_path / "part-3.parquet")


def test_the_sweep_takes_temporary_files_and_nothing_else(tmp_path: Path) -> None:
    """What a killed run left goes, from every folder; parts, notes and foreign files stay."""
    strays, others = [], []
    for name in (*Kind, "runs", "_state"):
        place = made_folder(tmp_path / name)
        strays.append(place / ".tmp-part-1.parquet")
        others += [place / "part-1.parquet", place / "notes.txt", place / ".hidden"]
    for path in (*strays, *others):
        path.touch()
    assert sorted(sweep(tmp_path)) == sorted(strays)
    assert all(path.exists() for path in others)
    assert list(sweep(tmp_path)) == []


def test_parts_are_listed_by_name_and_nothing_else_is(tmp_path: Path) -> None:
    """Temporary and foreign files are not parts; a missing folder has none."""
    place = made_folder(folder(tmp_path, Kind.FAILURES))
    for name in ("part-b.parquet", "part-a.parquet", ".tmp-part-c.parquet", "part-d.csv", "notes.parquet"):
        (place / name).touch()
    assert [path.name for path in list_parts(tmp_path, Kind.FAILURES)] == ["part-a.parquet", "part-b.parquet"]
    assert list_parts(tmp_path, Kind.RESULTS) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with mounted_disk(tmp_path / "disk", "1m") as place:
        yield place


def test_a_full_disk_leaves_no_part_and_gives_the_room_back(small_disk: Path) -> None:
    """The half-written file goes, so that what is written next finds room."""
    noise = pa.table({"noise": [os.urandom(100_000) for _ in range(30)]})
    with pytest.raises(OSError, match="No space"):
        write_part(small_disk / "results" / "part-1.parquet", noise.schema, [noise], "none")
    assert list((small_disk / "results").iterdir()) == []
    assert shutil.disk_usage(small_disk).free > 900_000
