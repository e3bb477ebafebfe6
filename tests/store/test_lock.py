"""The lock of an output."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputHeldError
from pipeline.store.lock import OutputLock, in_turn, is_held

HOLD = """
import sys
from pathlib import Path
from pipeline.store.lock import OutputLock, in_turn, is_held
with OutputLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock of `out` lies."""
    place = tmp_path / "out" / "_state"
    place.mkdir(parents=True)
    return place / "lock"


def test_a_second_process_is_refused_with_exit_code_75(path: Path) -> None:
    """The cron overlap names the output and exits with 75."""
    with holder(path), pytest.raises(OutputHeldError, match="out: another run holds") as caught, OutputLock(path):
        pytest.fail("the lock was taken twice")
    assert caught.value.exit_code == 75


def test_the_lock_dies_with_a_holder_that_is_killed(path: Path) -> None:
    """After kill -9 the next start takes the lock at once."""
    process = holder(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with OutputLock(path):
        pass


def test_a_lock_that_was_let_go_can_be_taken_again(path: Path) -> None:
    """Leaving the block lets go, also within one process."""
    with OutputLock(path):
        pass
    with OutputLock(path), pytest.raises(OutputHeldError), OutputLock(path):
        pytest.fail("the lock was taken twice")


def test_taking_the_lock_leaves_the_file_alone(path: Path) -> None:
    """The file is private, and no byte or time of it changes with use."""
    with OutputLock(path):
        pass
    before = path.stat()
    with OutputLock(path):
        pass
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert stat.S_IMODE(before.st_mode) == 0o600


def test_a_link_in_the_place_of_the_lock_is_not_followed(path: Path, tmp_path: Path) -> None:
    """A planted link cannot make the program open a file elsewhere."""
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), OutputLock(path):
        pytest.fail("the link was followed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_shared_lock_is_held_by_many_and_keeps_out_who_wants_it_alone(path: Path) -> None:
    """Shards hold an output together; a run without a shard waits for the last of them."""
    with OutputLock(path, shared=True), OutputLock(path, shared=True):
        assert is_held(path)
        with pytest.raises(OutputHeldError), OutputLock(path):
            pytest.fail("taken alone while others hold it")
    with OutputLock(path), pytest.raises(OutputHeldError), OutputLock(path, shared=True):
        pytest.fail("shared while another holds it alone")
    assert not is_held(path)


def test_looking_at_a_lock_takes_nothing(path: Path) -> None:
    """A lock that nobody made is held by nobody, and is not made by the look."""
    assert not is_held(path)
    assert not path.exists()


def test_a_refusal_names_what_is_held(path: Path) -> None:
    """A shard is told from the whole output."""
    with OutputLock(path), pytest.raises(OutputHeldError, match="shard 1/2 is held; wait"):
        OutputLock(path, what="shard 1/2 is held").__enter__()


def test_a_block_in_turn_waits_for_the_one_before(path: Path) -> None:
    """Another process goes on once this one has left its block, and not before."""
    script = HOLD.replace("OutputLock", "in_turn")
    with in_turn(path):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert is_held(path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.communicate()
    with in_turn(path):
        pass
