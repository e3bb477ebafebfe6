"""The journal's file: created, versioned, sealed."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.store.database import VERSION, Database, is_damage


def sealed(path: Path) -> None:
    """A journal with one run in it, closed by a writer that ended well."""
    database = Database(path)
    database.is_trusted = True
    database.begin()
    database.connection.execute("INSERT INTO runs VALUES ('r', '{}')")
    database.commit()
    database.close()


def test_the_journal_and_its_companions_are_private(tmp_path: Path) -> None:
    """Nobody else may read journal, log, shared memory or seal."""
    path = tmp_path / "journal.sqlite"
    database = Database(path)
    database.begin()
    database.connection.execute("INSERT INTO runs VALUES ('r', '{}')")
    database.commit()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    database.is_trusted = True
    database.close()
    modes |= {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes) == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.seal"}
    assert set(modes.values()) == {0o600}


def test_a_sealed_journal_opens_as_sealed_and_is_not_touched(tmp_path: Path) -> None:
    """Opening, reading and closing changes no byte and no time, and leaves no companion files."""
    path = tmp_path / "journal.sqlite"
    sealed(path)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    database = Database(path)
    reader = Database(path, read_only=True)
    assert database.is_sealed
    assert reader.connection.execute("SELECT run_id FROM runs").fetchall() == [("r",)]
    reader.close()
    database.close()
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()} == before


def test_the_first_write_breaks_the_seal(tmp_path: Path) -> None:
    """A run that is killed after its first write leaves no seal that a later start could believe."""
    path = tmp_path / "journal.sqlite"
    sealed(path)
    database = Database(path)
    database.begin()
    assert not (tmp_path / "journal.seal").exists()
    database.rollback()
    database.close()
    assert Database(path).is_sealed


def test_a_journal_that_nobody_vouched_for_is_not_sealed(tmp_path: Path) -> None:
    """Until a start has recovered it, closing an unsealed journal does not make it trusted."""
    path = tmp_path / "journal.sqlite"
    Database(path).close()
    database = Database(path)
    assert not database.is_sealed
    database.close()
    assert not (tmp_path / "journal.seal").exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_any_flipped_byte_of_a_sealed_journal_is_noticed(tmp_path: Path, share: float) -> None:
    """Not only what breaks SQLite's structure: every byte counts."""
    path = tmp_path / "journal.sqlite"
    sealed(path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        Database(path)
    assert is_damage(caught.value)


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """It is neither read nor set aside as damaged: the message says to upgrade."""
    path = tmp_path / "journal.sqlite"
    database = Database(path)
    database.connection.execute("UPDATE meta SET value=? WHERE name='version'", (str(VERSION + 1),))
    database.close()
    with pytest.raises(OutputError, match=r"newer version.*upgrade"):
        Database(path)


@pytest.mark.parametrize("value", ["0", "-1", "", "one", "²", "1.5"])
def test_a_version_that_is_none_is_damage(tmp_path: Path, value: str) -> None:
    """A garbled version does not pass for the first one, nor end in a traceback."""
    path = tmp_path / "journal.sqlite"
    database = Database(path)
    database.connection.execute("UPDATE meta SET value=?", (value,))
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match="no version"):
        Database(path)


def test_a_new_journal_has_this_version(tmp_path: Path) -> None:
    """What this program writes, it reads."""
    database = Database(tmp_path / "journal.sqlite")
    assert database.connection.execute("SELECT value FROM meta").fetchall() == [(str(VERSION),)]
    database.close()


def test_another_programs_database_is_damage(tmp_path: Path) -> None:
    """A foreign SQLite file is not taken for an empty journal."""
    path = tmp_path / "journal.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE songs (name TEXT)")
    foreign.close()
    with pytest.raises(sqlite3.DatabaseError, match="no journal of this program"):
        Database(path)


def test_an_empty_file_becomes_a_journal_in_wal_mode(tmp_path: Path) -> None:
    """A start that was killed right after it had made the file leaves nothing that has to be mended."""
    path = tmp_path / "journal.sqlite"
    path.touch()
    database = Database(path)
    assert database.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


def test_a_log_beside_a_missing_journal_is_not_replayed(tmp_path: Path) -> None:
    """A write-ahead log whose journal was deleted does not fill the new one with parts of the old."""
    old = tmp_path / "old.sqlite"
    database = Database(old)
    database.begin()
    database.connection.execute("INSERT INTO runs VALUES ('old', '{}')")
    database.commit()
    (tmp_path / "journal.sqlite-wal").write_bytes((tmp_path / "old.sqlite-wal").read_bytes())
    database.close()
    new = Database(tmp_path / "journal.sqlite")
    assert new.connection.execute("SELECT * FROM runs").fetchall() == []
    new.close()


def test_lack_of_rights_is_not_damage(tmp_path: Path) -> None:
    """A journal that cannot be opened is not set aside as if its content were at fault."""
    with pytest.raises(sqlite3.Error) as caught:
        Database(tmp_path / "nowhere" / "journal.sqlite", read_only=True)
    assert not is_damage(caught.value)


def killed_with_a_log(path: Path, commits: int) -> int:
    """A journal as a kill leaves it, with so many commits in its write-ahead log; the log's size."""
    program = (
        "import os, sys; from pathlib import Path; from pipeline.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(int(sys.argv[2])):\n"
        "    with journal.transaction(): journal.add_run(f'run-{number}', {'filler': 'x' * 3000})\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(commits)], check=False)
    return path.with_name(path.name + "-wal").stat().st_size


@pytest.mark.parametrize("at", [3, 40, 5000, 0.5])
def test_a_log_that_is_damaged_in_its_middle_is_known_from_one_that_ends(tmp_path: Path, at: float) -> None:
    """SQLite passes over what follows the damage without a word; the commits behind it are counted."""
    path = tmp_path / "journal.sqlite"
    size = killed_with_a_log(path, 12)
    log = path.with_name(path.name + "-wal")
    content = bytearray(log.read_bytes())
    content[int(size * at) if at < 1 else int(at)] ^= 0xFF
    log.write_bytes(content)
    database = Database(path)
    assert database.is_log_damaged
    database.close()


@pytest.mark.parametrize("cut", [0, 1, 100, 5000])
def test_a_log_that_merely_ends_is_a_killed_runs(tmp_path: Path, cut: int) -> None:
    """A torn tail is what a crash leaves, and nothing to be told of."""
    path = tmp_path / "journal.sqlite"
    size = killed_with_a_log(path, 12)
    os.truncate(path.with_name(path.name + "-wal"), size - cut)
    database = Database(path)
    assert not database.is_log_damaged
    database.check()
    database.close()


def test_a_journal_of_version_1_is_brought_up(tmp_path: Path) -> None:
    """Its rows stay, its seal holds, and what is new has a value."""
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "INSERT INTO meta VALUES ('version', '1');"
            "CREATE TABLE parts (name TEXT, kind INTEGER, published INTEGER, bytes INTEGER);"
            "INSERT INTO parts VALUES ('part-1.parquet', 0, 1, 9);"
            "CREATE TABLE pending (id INTEGER PRIMARY KEY);"
        )
    old.close()
    for _ in range(2):
        database = Database(path)
        assert database.connection.execute("SELECT * FROM parts").fetchall() == [("part-1.parquet", 0, 1, 9, 0)]
        assert database.connection.execute("SELECT value FROM meta").fetchone() == (str(VERSION),)
        database.is_trusted = True
        database.close()
    assert Database(path).is_sealed
