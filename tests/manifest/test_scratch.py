"""A database that has no name."""

from pathlib import Path

import pytest
from support.small_disks import mounted_disk

from pipeline.errors import OutputError
from pipeline.manifest.scratch import scratch_database

TABLE = "CREATE TABLE kept (key BLOB PRIMARY KEY) WITHOUT ROWID"


def test_it_leaves_nothing_in_its_folder_even_while_it_is_used(tmp_path: Path) -> None:
    """What is kept in it can be read back, and no file can be found."""
    database = scratch_database(tmp_path, TABLE)
    database.execute("INSERT INTO kept VALUES (?)", (b"one",))
    assert database.execute("SELECT key FROM kept").fetchall() == [(b"one",)]
    assert list(tmp_path.iterdir()) == []
    database.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """It is the output's own state folder, so the fault is the output's."""
    with pytest.raises(OutputError, match="absent"):
        scratch_database(tmp_path / "absent", TABLE)


def test_a_disk_without_room_is_told_as_the_outputs_fault(tmp_path: Path) -> None:
    """There is room for a name and none for a page: the message says what to do, and nothing is left behind."""
    with mounted_disk(tmp_path / "disk", "1m") as disk:
        (disk / "ballast").write_bytes(bytes((1 << 20) - 4096))
        with pytest.raises(OutputError, match="make room"):
            scratch_database(disk, TABLE)
        assert [path.name for path in disk.iterdir()] == ["ballast"]
