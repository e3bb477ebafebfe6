"""Two folders that change places."""

from pathlib import Path

import pytest

from pipeline.store.exchange import exchange


def test_two_folders_change_places(tmp_path: Path) -> None:
    """Each has the other's content, and is the other's folder."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    inodes = [(tmp_path / name).stat().st_ino for name in ("one", "other")]
    exchange(tmp_path / "one", tmp_path / "other")
    assert [(tmp_path / name).stat().st_ino for name in ("other", "one")] == inodes
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["other"]


def test_what_cannot_be_exchanged_stays(tmp_path: Path) -> None:
    """A folder that is not there is an error, and nothing has moved."""
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "gone")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
