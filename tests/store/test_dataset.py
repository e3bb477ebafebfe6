"""A dataset opened for writing."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.datasets import answered, failed, journal_path, snapshot, with_ledger, write_run

from pipeline.errors import OutputError, OutputHeldError
from pipeline.store.database import VERSION
from pipeline.store.dataset import LEAST_FREE_BYTES, open_dataset
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal, item_key
from pipeline.store.ledger import Ledger
from pipeline.store.read import read_results


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


def test_what_a_killed_run_left_is_put_right_first(tmp_path: Path) -> None:
    """Rows that were journalled and not yet in a part are in one before the block begins."""

    async def body(ledger: Ledger) -> None:
        await ledger.settle(answered("a"))
        shutil.copytree(tmp_path / "out", tmp_path / "killed")

    with_ledger(tmp_path / "out", body)
    with open_dataset(DatasetSettings(tmp_path / "killed")):
        assert read_results(tmp_path / "killed")["item_id"].to_pylist() == ["a"]


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """It is not set aside as damaged, for then everything would be paid for again."""
    write_run(tmp_path, [answered("a")])
    journal = Journal(journal_path(tmp_path))
    with journal.transaction():
        journal.database.connection.execute("UPDATE meta SET value=? WHERE name='version'", (str(VERSION + 1),))
    journal.close()
    with pytest.raises(OutputError, match="newer version"), open_dataset(DatasetSettings(tmp_path)):
        pass
    assert journal_path(tmp_path).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_too_little_room_is_found_before_the_start(tmp_path: Path) -> None:
    """A run that could not keep what it pays for does not begin."""
    small = tmp_path / "small"
    small.mkdir()
    size = LEAST_FREE_BYTES // 2
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", small], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(OutputError, match="a run needs at least"), open_dataset(DatasetSettings(small / "out")):
            pytest.fail("opened without room")
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_journal_that_cannot_be_sealed_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last write of a run fails: the rows are there, and the next start opens the journal as it is."""
    seal = tmp_path / "_state" / "journal.seal"
    with caplog.at_level(logging.WARNING, "pipeline"), open_dataset(DatasetSettings(tmp_path)) as journal:
        with journal.transaction():
            journal.accept("f9")
        seal.mkdir()
    assert "not sealed" in caplog.text
    seal.rmdir()
    with open_dataset(DatasetSettings(tmp_path)) as journal:
        assert journal.fingerprints() == ["f9"]


def test_a_block_that_fails_lets_go_of_the_output(tmp_path: Path) -> None:
    """The next run need not wait for the process to end."""
    with pytest.raises(ZeroDivisionError), open_dataset(DatasetSettings(tmp_path)):
        raise ZeroDivisionError
    with open_dataset(DatasetSettings(tmp_path)):
        pass
