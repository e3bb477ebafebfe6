"""A database that has no name."""

from pathlib import Path

import pytest

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
