"""A dataset opened for writing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.datasets import answered, failed, journal_path, snapshot, write_run

from pipeline.errors import OutputError, OutputHeldError
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import item_key


def test_a_new_output_is_made_with_private_state(tmp_path: Path) -> None:
    """Folder, lock and journal stand before anything is sent, and nobody else may read them."""
    output = tmp_path / "deep" / "out"
    with open_dataset(DatasetSettings(output)) as journal:
        assert journal.fingerprints() == []
    assert {path.name for path in (output / "_state").iterdir()} == {"lock", "journal.sqlite", "journal.seal"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (output / "_state", *(output / "_state").iterdir()))


def test_opening_again_changes_no_byte(tmp_path: Path) -> None:
    """A start that finds nothing to put right leaves the dataset as it was."""
    write_run(tmp_path, [answered("a"), failed("b")])
    with open_dataset(DatasetSettings(tmp_path)):
        pass
    before = snapshot(tmp_path)
    with open_dataset(DatasetSettings(tmp_path)) as journal:
        assert len(journal.standings([item_key("a"), item_key("b")], "f1")) == 2
    assert snapshot(tmp_path) == before


def test_a_second_writer_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    """While the block runs nobody else may write; afterwards anybody may."""
    with open_dataset(DatasetSettings(tmp_path)):
        with pytest.raises(OutputHeldError), open_dataset(DatasetSettings(tmp_path)):
            pytest.fail("opened twice")
        with pytest.raises(OutputHeldError), open_dataset(DatasetSettings(tmp_path)):
            pytest.fail("a refusal let go of the lock")
    with open_dataset(DatasetSettings(tmp_path)):
        pass


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the output and the key of the configuration."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"out: output\.path cannot be written") as caught:
        open_dataset(DatasetSettings(tmp_path / "out")).__enter__()
    assert caught.value.exit_code == 2
    assert (tmp_path / "out").read_text() == "mine"


READ_ONLY = """
import os, sys
from pathlib import Path
from pipeline.errors import OutputError
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    with open_dataset(DatasetSettings(Path(sys.argv[1]))):
        print("opened")
except OutputError as error:
    print(error)
"""


def test_an_output_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    """Found before anything is sent, by a process without special rights."""
    readable = tmp_path
    while readable != readable.parent and os.geteuid() == 0:
        readable.chmod(readable.stat().st_mode | 0o055)
        readable = readable.parent if readable.parent.owner() == readable.owner() else Path("/")
    (tmp_path / "out").mkdir(mode=0o555)
    told = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert "output.path cannot be written: Permission denied" in told.stdout, told.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_journal_that_cannot_be_opened_is_not_taken_for_damaged(tmp_path: Path) -> None:
    """A folder in its place is an error, and nothing is set aside or asked again."""
    (tmp_path / "_state").mkdir(mode=0o700)
    journal_path(tmp_path).mkdir()
    with pytest.raises(OutputError, match=str(tmp_path)), open_dataset(DatasetSettings(tmp_path)):
        pytest.fail("opened a folder as a journal")
    assert journal_path(tmp_path).is_dir()
    assert not (tmp_path / "_state" / "damaged").exists()
