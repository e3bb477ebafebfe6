"""The journal's file: opened, verified, sealed.

SQLite checks the frames of its write-ahead log, but not the pages of its file: a flipped bit in a key would read as
an item that was never asked. So a journal is *sealed* when it is closed after the last write: `journal.seal` holds the
file's BLAKE2b hash. The seal is removed before the next write, and compared before anything is believed. A journal
without a seal was left by a run that was killed; its structure is checked here, its index against the parts (see
`recovery`).

A write-ahead log that is damaged in its middle reads as one that ends there: SQLite takes what follows for the torn
tail of a crash. So the commits that it announces are counted before it is opened, and compared with those that were
found. (One that was cut off between two commits by another hand cannot be told from a killed run's.)

Opening, reading and closing a sealed journal changes no byte of it.
"""

import os
import sqlite3
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pipeline.errors import OutputError
from pipeline.store.parts import sync_folder, write_whole

__all__ = ["VERSION", "Database", "is_damage"]

VERSION = 2
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
_BLOCK = 1 << 20
_NO_TEXT = "it holds a name that is no text"
_PAGE_SIZES = {1 << power for power in range(9, 17)}

_TABLES = """
BEGIN;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', '2');
CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE settled (
    item BLOB NOT NULL, fingerprint INTEGER NOT NULL, state INTEGER NOT NULL, error_type TEXT,
    PRIMARY KEY (item, fingerprint)) WITHOUT ROWID;
CREATE TABLE shapes (id INTEGER PRIMARY KEY, manifest BLOB, data TEXT, UNIQUE (manifest, data));
CREATE TABLE parts (
    name TEXT NOT NULL, kind INTEGER NOT NULL, published INTEGER NOT NULL, bytes INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (name, kind)) WITHOUT ROWID;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, shape INTEGER NOT NULL, part TEXT,
    body TEXT NOT NULL, extras BLOB, thumbnail BLOB, reuse BLOB, replaces INTEGER NOT NULL DEFAULT 0);
CREATE INDEX pending_part ON pending (part, kind, shape);
CREATE TABLE answers (reuse BLOB PRIMARY KEY, pending INTEGER, part TEXT, item_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX answers_part ON answers (part);
CREATE TABLE turns (
    item BLOB NOT NULL, fingerprint INTEGER NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    body TEXT NOT NULL, answer BLOB NOT NULL, PRIMARY KEY (item, fingerprint, turn, attempt)) WITHOUT ROWID;
CREATE TABLE flights (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE runs (run_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
COMMIT;
"""
_FROM_1 = """
BEGIN;
ALTER TABLE parts ADD COLUMN changed_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET value='2' WHERE name='version';
COMMIT;
"""
"""Version 2 knows when its parts were last written, and rows that take the place of a published one."""


class Database:
    """One connection to the journal's file. Not thread-safe: one thread at a time.

    Args:
        path: the file; made with mode 0600 where there is none.
        read_only: opens without the right to write, and without a look at the seal.

    Attributes:
        is_sealed: whether the file was, when it was opened, as a writer left it that ended well.
        is_log_damaged: whether commits of its write-ahead log were passed over.
        is_trusted: whether it may be sealed when it is closed; a start that recovers a killed run's journal says so.

    Raises:
        OutputError: the journal was written by a newer version.
        sqlite3.DatabaseError: the file is damaged, or cannot be opened; `is_damage` tells which.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._seal = path.with_suffix(".seal")
        self._read_only = read_only
        self._dirty = False
        if not path.exists() and not read_only:
            self._create()
        self.is_sealed = self.is_trusted = not read_only and self._compare()
        announced = 0 if read_only or self.is_sealed else _announced_frames(self._beside()[0])
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            self._open()
            found = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1] if announced else 0
            self.is_log_damaged = found < announced
        except UnicodeDecodeError as error:
            self.connection.close()
            raise sqlite3.DatabaseError(_NO_TEXT) from error
        except BaseException:
            self.connection.close()
            raise

    def _create(self) -> None:
        """Makes the empty file; what stands beside it belongs to a journal that is gone."""
        for name in (self._seal, *self._beside()):
            name.unlink(missing_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        sync_folder(self._path.parent)

    def _compare(self) -> bool:
        try:
            sealed = self._seal.read_text("ascii", "replace")
        except FileNotFoundError:
            return False
        if sealed != _hash(self._path):
            raise sqlite3.DatabaseError("it is not as its last writer left it")
        return not any(name.exists() and name.stat().st_size for name in self._beside()[:1])

    def _open(self) -> None:
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("PRAGMA cache_size=-64000")
        tables = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if not tables:
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.executescript(_TABLES)
        elif "meta" not in tables:
            raise sqlite3.DatabaseError("it is no journal of this program")
        found = self.connection.execute("SELECT value FROM meta WHERE name='version'").fetchone()
        version = int(found[0]) if found and str(found[0]).isdecimal() else 0
        if version > VERSION:
            raise OutputError(
                f"{self._path}: written by a newer version of pipeline (journal version {version}, this one reads "
                f"{VERSION}); upgrade, or choose another output.path"
            )
        if version < 1:
            raise sqlite3.DatabaseError("it has no version")
        if version < VERSION and not self._read_only:
            self._break_seal()
            self.connection.executescript(_FROM_1)

    def check(self) -> None:
        """Reads the whole structure of a journal that is not sealed.

        Raises:
            sqlite3.DatabaseError: something in it is damaged.
        """
        if self.is_sealed:
            return
        try:
            verdict = self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(_NO_TEXT) from error
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])

    def begin(self) -> None:
        """Starts a transaction; the first one breaks the seal."""
        self._break_seal()
        self.connection.execute("BEGIN IMMEDIATE")

    def _break_seal(self) -> None:
        if self._dirty:
            return
        self._dirty = True
        if self._seal.exists():
            self._seal.unlink()
            sync_folder(self._seal.parent)

    def commit(self) -> None:
        """Ends it; synced when this returns."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Takes it back."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Closes the connection, folds the write-ahead log into the file, and seals what was written.

        Raises:
            OSError: the seal cannot be written; the next start takes the journal for a killed run's.
        """
        self.connection.close()
        if self._read_only or not self.is_trusted or (self.is_sealed and not self._dirty):
            return
        if not any(name.exists() for name in self._beside()):
            write_whole(self._seal, _hash(self._path).encode(), mode=0o600)

    def _beside(self) -> list[Path]:
        return [self._path.with_name(self._path.name + suffix) for suffix in ("-wal", "-shm")]


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error speaks of the file's content, and not of room, rights or the device."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE


def _announced_frames(log: Path) -> int:
    """The number of the last frame of a write-ahead log that ends a commit (https://sqlite.org/fileformat2.html#walformat).

    Frames of an older log behind it have other salts; where the header is damaged, the first frame's are taken.
    """
    try:
        with log.open("rb") as file:
            header = file.read(32)
            page_size = int.from_bytes(header[8:12])
            if page_size not in _PAGE_SIZES:
                return int(len(header) == 32 and bool(file.read(1)))
            salts = header[16:24] if _is_sound(header) else None
            last = 0
            frames = (log.stat().st_size - 32) // (24 + page_size)  # what follows the last whole one is a torn tail
            for number in range(1, frames + 1):
                frame = file.read(24)
                salts = salts or frame[8:16]
                if frame[8:16] == salts and any(frame[4:8]):
                    last = number
                file.seek(page_size, os.SEEK_CUR)
            return last
    except FileNotFoundError:
        return 0


def _is_sound(header: bytes) -> bool:
    """Whether a log's header agrees with its own checksum, which is summed in the byte order that its mark names."""
    order: Literal["big", "little"] = "big" if header[3] & 1 else "little"
    words = [int.from_bytes(header[at : at + 4], order) for at in range(0, 24, 4)]
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) % 2**32
        second = (second + odd + first) % 2**32
    return (first, second) == (int.from_bytes(header[24:28]), int.from_bytes(header[28:32]))


def _hash(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
