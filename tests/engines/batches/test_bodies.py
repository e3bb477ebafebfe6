"""A batch's body on disk: private, whole, and gone when it is not wanted any more."""

import io
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines.batches.bodies import BuiltBatch, clear_bodies


class ShortWrites(io.RawIOBase):
    """A file that takes a few bytes at a time, as files may."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.taken = b""

    def write(self, piece: Any) -> int:
        """Takes the first of them."""
        part = bytes(piece[: self.most])
        self.taken += part
        return len(part)


@given(st.lists(st.binary(max_size=200), max_size=8))
@settings(deadline=None, max_examples=30)
def test_what_is_written_stands_in_the_file_at_once(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    """Nothing waits in memory: after each piece the file has it, and the size is the file's."""
    batch = BuiltBatch.begin(tmp_path_factory.mktemp("bodies") / "batches", 7)
    with batch.file:
        for number, piece in enumerate(pieces, 1):
            batch.write(piece)
            assert batch.body.read_bytes() == b"".join(pieces[:number])
            assert batch.size == batch.body.stat().st_size


@given(st.binary(max_size=300), st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_a_piece_is_written_whole_however_little_the_file_takes(piece: bytes, most: int) -> None:
    """A write that takes a part of it is followed by others."""
    file: Any = ShortWrites(most)
    batch = BuiltBatch(1, Path("none"), file)
    batch.write(piece)
    assert file.taken == piece
    assert batch.size == len(piece)


def test_a_body_is_private(tmp_path: Path) -> None:
    """Prompts and pictures are for nobody else, neither the file nor its folder."""
    batch = BuiltBatch.begin(tmp_path / "batches", 1)
    with batch.file:
        assert stat.S_IMODE(batch.body.stat().st_mode) == 0o600
        assert stat.S_IMODE(batch.body.parent.stat().st_mode) == 0o700
    assert (batch.items, batch.size, batch.worst_usd, batch.noting) == (0, 0, 0.0, 0)


def test_a_body_is_never_written_over(tmp_path: Path) -> None:
    """One of the same number that is there already is left as it is."""
    first = BuiltBatch.begin(tmp_path, 3)
    with first.file:
        first.write(b"paid for")
        with pytest.raises(FileExistsError):
            BuiltBatch.begin(tmp_path, 3)
    assert first.body.read_bytes() == b"paid for"


def test_a_full_disk_is_an_error_and_no_size(tmp_path: Path) -> None:
    """What could not be written is not counted."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs a device that is always full")
    with full.open("wb", buffering=0) as file:
        batch = BuiltBatch(1, tmp_path / "1.json", file)  # type: ignore[arg-type]
        with pytest.raises(OSError, match="No space left"):
            batch.write(b"{}")
    assert batch.size == 0


def test_marks_tell_batches_apart(tmp_path: Path) -> None:
    """Each has its own, of characters that may stand in the name of a request."""
    marks = set()
    for number in range(20):
        batch = BuiltBatch.begin(tmp_path, number)
        batch.file.close()
        marks.add(batch.mark)
    assert len(marks) == 20
    assert all(mark.isalnum() and len(mark) == 6 for mark in marks)


def test_clearing_removes_bodies_alone(tmp_path: Path) -> None:
    """What else stands there stays; a folder that is not there is no error."""
    clear_bodies(tmp_path / "none")
    BuiltBatch.begin(tmp_path, 1).file.close()
    (tmp_path / "note.txt").write_text("kept")
    (tmp_path / "folder.json").mkdir()
    clear_bodies(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json", "note.txt"]
