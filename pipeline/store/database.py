"""The journal's file: opened, verified, sealed.

SQLite checks the frames of its write-ahead log, but not the pages of its file: a flipped bit in a key would read as
an item that was never asked. So a journal is *sealed* when it is closed after the last write: `journal.seal` holds the
file's BLAKE2b hash. The seal is removed before the next write, and compared before anything is believed. A journal
without a seal was left by a run that was killed; its structure is checked here, its index against the parts (see
`recovery`).

Opening, reading and closing a sealed journal changes no byte of it.
"""

import os
import sqlite3
from hashlib import blake2b
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.store.parts import sync_folder, write_whole

__all__ = ["VERSION", "Database", "is_damage"]

VERSION = 1
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
_BLOCK = 1 << 20

_TABLES = """
BEGIN;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', '1');
CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE settled (
    item BLOB NOT NULL, fingerprint INTEGER NOT NULL, state INTEGER NOT NULL, error_type TEXT,
    PRIMARY KEY (item, fingerprint)) WITHOUT ROWID;
CREATE TABLE shapes (id INTEGER PRIMARY KEY, manifest BLOB, data TEXT, UNIQUE (manifest, data));
CREATE TABLE parts (
    name TEXT NOT NULL, kind INTEGER NOT NULL, published INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (name, kind)) WITHOUT ROWID;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, shape INTEGER NOT NULL, part TEXT,
    body TEXT NOT NULL, extras BLOB, thumbnail BLOB, reuse BLOB);
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


class Database:
    """One connection to the journal's file. Not thread-safe: one thread at a time.

    Args:
        path: the file; made with mode 0600 where there is none.
        read_only: opens without the right to write, and without a look at the seal.

    Attributes:
        is_sealed: whether the file was, when it was opened, as a writer left it that ended well.
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
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            self._open()
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
        self.connection.execute("PRAGMA cache_size=-32000")
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

    def check(self) -> None:
        """Reads the whole structure of a journal that is not sealed.

        Raises:
            sqlite3.DatabaseError: something in it is damaged.
        """
        if self.is_sealed:
            return
        verdict = self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])

    def begin(self) -> None:
        """Starts a transaction; the first one breaks the seal."""
        if not self._dirty:
            self._dirty = True
            if self._seal.exists():
                self._seal.unlink()
                sync_folder(self._seal.parent)
        self.connection.execute("BEGIN IMMEDIATE")

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


def _hash(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
