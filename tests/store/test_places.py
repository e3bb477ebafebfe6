"""Where state lies."""

from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.store.places import shards_folder, state_folder, state_path
from pipeline.store.shards import Shard


def test_each_shard_has_a_private_folder_of_its_own(tmp_path: Path) -> None:
    """No other user may read a journal, nor the names of the folders on the way to it."""
    folders = [state_folder(tmp_path / "out", shard) for shard in (None, Shard(1, 2), Shard(2, 2))]
    assert len(set(folders)) == 3
    assert folders == [state_path(tmp_path / "out", shard) for shard in (None, Shard(1, 2), Shard(2, 2))]
    for folder in (*folders, shards_folder(tmp_path / "out")):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_on_the_way_is_refused(tmp_path: Path) -> None:
    """What is private may not lie elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    state_folder(tmp_path / "out")
    shards_folder(tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        state_folder(tmp_path / "out", Shard(1, 2))
    assert list((tmp_path / "elsewhere").iterdir()) == []
