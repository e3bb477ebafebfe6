"""The journal: what arrived, written down and synced before anything else may forget it.

Order of writes, and what a crash leaves behind
-----------------------------------------------
One SQLite database in WAL mode with `synchronous=FULL` holds everything that is not yet in a Parquet part. Every
commit is one `fsync`; many answers share a commit (see `ledger`). For one item the order is:

1. *flight*: before a request is sent, that it will be (not waited for: losing this note loses no money).
2. *attempt*: the request's end. For a 200 the whole body is kept with it, and nothing goes on before the commit.
   Crash before: the answer counts as in flight. Crash after: the turn is paid and is never asked again.
3. *settle*: the item's row, pending, and its mark in `settled`; one transaction with the last attempt.
4. *reserve*: pending rows are given the name of the part they will be in. Crash after: recovery finds either the
   whole part at that name (and marks it published) or none (and writes the same rows to the same name again).
5. the part is written and moved in (see `parts`).
6. *published*: the rows leave the journal. Crash before: as after 4.

`settled` stays for ever: it is the index by which the next run skips, keyed by a 16-byte hash of the item id, so
that its size (about 50 bytes an item) does not depend on captions.

Rejected: appending to one log file (group commit, checksums and torn tails would be ours to get right, and the index
a second store); writing Parquet row by row (a part cannot be appended to); a server database (a cron job on a laptop
has none).

This module is synchronous SQL and nothing else; `ledger` decides when, and on which thread.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from pipeline.store.schema import Kind

__all__ = ["Journal", "PaidTurn", "PendingRow", "Reservation", "SettledAs", "Standing", "item_key"]

VERSION = 1
_KINDS = list(Kind)
_LOOKUP_BATCH = 500

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE settled (
    item BLOB NOT NULL, fingerprint INTEGER NOT NULL, state INTEGER NOT NULL, error_type TEXT,
    PRIMARY KEY (item, fingerprint)) WITHOUT ROWID;
CREATE TABLE shapes (id INTEGER PRIMARY KEY, manifest BLOB, data TEXT, UNIQUE (manifest, data));
CREATE TABLE parts (
    name TEXT PRIMARY KEY, kind INTEGER NOT NULL, published INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, shape INTEGER NOT NULL, part TEXT,
    body TEXT NOT NULL, extras BLOB, thumbnail BLOB, reuse BLOB);
CREATE INDEX pending_part ON pending (kind, part, shape);
CREATE TABLE answers (reuse BLOB PRIMARY KEY, pending INTEGER, part TEXT, item_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE turns (
    item BLOB NOT NULL, fingerprint INTEGER NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    body TEXT NOT NULL, answer BLOB NOT NULL, PRIMARY KEY (item, fingerprint, turn, attempt)) WITHOUT ROWID;
CREATE TABLE flights (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE runs (run_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""


class SettledAs(IntEnum):
    """How an item stands under one fingerprint."""

    SUCCEEDED = 0
    FAILED = 1
    FAILED_RETRYABLE = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """What the journal knows of an item: settled how, and of what error."""

    state: SettledAs
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row of the dataset on its way to a part.

    Attributes:
        body: the columns as plain JSON values, times as microseconds since the epoch.
        manifest_schema: the serialized Arrow schema of `extras`, `None` where there are none.
        data_schema: the JSON schema behind the `data` column, as canonical JSON text.
        extras: the manifest's other columns as one serialized record batch.
        reuse: the key by which identical requests find this answer.
    """

    kind: Kind
    body: dict[str, Any]
    manifest_schema: bytes | None = None
    data_schema: str | None = None
    extras: bytes | None = None
    thumbnail: bytes | None = None
    reuse: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part that was named before it is written, with the shape of its rows."""

    name: str
    kind: Kind
    manifest_schema: bytes | None = None
    data_schema: str | None = None


@dataclass(frozen=True, slots=True)
class PaidTurn:
    """A turn that was answered while its item is not settled: the request row and the whole answer."""

    turn: int
    attempt: int
    body: dict[str, Any] = field(repr=False)
    answer: bytes = field(repr=False)


def item_key(item_id: str) -> bytes:
    """The 16 bytes by which the journal knows an item; any text, lone surrogates included, has one."""
    return blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Journal:
    """One connection to the journal. Not thread-safe: one thread at a time.

    Args:
        path: the database file; made with mode 0600 where there is none.
        read_only: opens without the right to write.

    Raises:
        OutputError: the journal was written by a newer version.
        sqlite3.DatabaseError: the file is damaged.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.is_new = not path.exists()
        if self.is_new:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        mode = "ro" if read_only else "rw"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        self._ids: dict[str, int] = {}
        self._shapes: dict[tuple[bytes | None, str | None], int] = {}
        try:
            self._open(path)
        except BaseException:
            self._db.close()
            raise

    def _open(self, path: Path) -> None:
        if self.is_new:
            self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA cache_size=-32000")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if not tables:
            self._db.executescript(f"BEGIN;{_TABLES}COMMIT;")
            self._db.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
            self.is_new = True
        elif "meta" not in tables:
            raise sqlite3.DatabaseError("not a journal of this program")
        found = self._db.execute("SELECT value FROM meta WHERE name='version'").fetchone()
        version = int(found[0]) if found and found[0].isdigit() else 0
        if version > VERSION:
            raise OutputError(
                f"{path}: written by a newer version of pipeline (journal version {version}, this one reads "
                f"{VERSION}); upgrade, or choose another output.path"
            )
        if version < 1:
            raise sqlite3.DatabaseError("no version in the journal")

    def close(self) -> None:
        """Closes the connection; the write-ahead log is folded into the file."""
        self._db.close()

    def check(self) -> None:
        """Reads the whole structure.

        Raises:
            sqlite3.DatabaseError: something in it is damaged.
        """
        verdict = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])

    # One transaction a group.

    def begin(self) -> None:
        """Starts a transaction."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Ends it; synced when this returns."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Takes it back."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    # What runs write.

    def add_run(self, run_id: str, body: dict[str, Any]) -> None:
        """Remembers a run that has begun and has no file in `runs/` yet."""
        self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (run_id, json.dumps(body)))

    def unfinished_runs(self) -> list[tuple[str, dict[str, Any]]]:
        """Runs that wrote no file in `runs/`: killed ones."""
        return [(run_id, json.loads(body)) for run_id, body in self._db.execute("SELECT run_id, body FROM runs")]

    def forget_run(self, run_id: str) -> None:
        """The run has its file."""
        self._db.execute("DELETE FROM runs WHERE run_id=?", (run_id,))

    def add_flight(self, flight: int, body: dict[str, Any]) -> None:
        """A request is about to be sent."""
        self._db.execute("INSERT INTO flights VALUES (?, ?)", (flight, json.dumps(body)))

    def end_flight(self, flight: int) -> None:
        """Its end is known."""
        self._db.execute("DELETE FROM flights WHERE id=?", (flight,))

    def flights(self) -> list[tuple[int, dict[str, Any]]]:
        """Requests whose end is not known: what a killed run had in flight."""
        return [(flight, json.loads(body)) for flight, body in self._db.execute("SELECT id, body FROM flights")]

    def add_turn(self, item: bytes, fingerprint: str, paid: PaidTurn) -> None:
        """Keeps the answer of a paid turn until its item is settled."""
        values = (item, self._id(fingerprint), paid.turn, paid.attempt, json.dumps(paid.body), paid.answer)
        self._db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)", values)

    def paid_turns(self, item: bytes, fingerprint: str) -> list[PaidTurn]:
        """The paid turns of an item that is not settled, in order."""
        found = self._db.execute(
            "SELECT turn, attempt, body, answer FROM turns WHERE item=? AND fingerprint=? ORDER BY turn, attempt",
            (item, self._id(fingerprint)),
        )
        return [PaidTurn(turn, attempt, json.loads(body), answer) for turn, attempt, body, answer in found]

    def items_with_turns(self, fingerprint: str) -> set[bytes]:
        """The keys of the items that have paid turns and are not settled."""
        found = self._db.execute("SELECT DISTINCT item FROM turns WHERE fingerprint=?", (self._id(fingerprint),))
        return {key for (key,) in found}

    def add_row(self, row: PendingRow) -> None:
        """Puts a row on its way to a part."""
        cursor = self._db.execute(
            "INSERT INTO pending (kind, shape, body, extras, thumbnail, reuse) VALUES (?, ?, ?, ?, ?, ?)",
            (
                _KINDS.index(row.kind),
                self._shape(row.manifest_schema, row.data_schema),
                json.dumps(row.body, ensure_ascii=False, separators=(",", ":")),
                row.extras,
                row.thumbnail,
                row.reuse,
            ),
        )
        if row.reuse is not None:
            self._db.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, NULL, ?)",
                (row.reuse, cursor.lastrowid, row.body["item_id"]),
            )

    def settle(self, item: bytes, fingerprint: str, standing: Standing) -> None:
        """Marks an item as settled, and lets go of its kept turns."""
        key = (item, self._id(fingerprint))
        self._db.execute(
            "INSERT OR REPLACE INTO settled VALUES (?, ?, ?, ?)", (*key, int(standing.state), standing.error_type)
        )
        self._db.execute("DELETE FROM turns WHERE item=? AND fingerprint=?", key)

    def settle_all(self, rows: Iterable[tuple[bytes, str, Standing]]) -> None:
        """Marks many items, newer rows last; a success is never unmade by a failure."""
        self._db.executemany(
            "INSERT INTO settled VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET state=excluded.state, "
            "error_type=excluded.error_type WHERE settled.state != 0",
            ((key, self._id(mark), int(standing.state), standing.error_type) for key, mark, standing in rows),
        )

    # What runs ask.

    def standings(self, keys: Sequence[bytes], fingerprint: str) -> dict[bytes, Standing]:
        """How these items stand under a fingerprint; unsettled ones are left out."""
        mark = self._id(fingerprint)
        found: dict[bytes, Standing] = {}
        for start in range(0, len(keys), _LOOKUP_BATCH):
            chunk = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT item, state, error_type FROM settled WHERE item IN ({marks}) AND fingerprint=?"  # noqa: S608 - question marks alone
            for key, state, error_type in self._db.execute(query, (*chunk, mark)):
                found[key] = Standing(SettledAs(state), error_type)
        return found

    def answered_otherwise(self, keys: Sequence[bytes], fingerprint: str) -> int:
        """How many of these items have an answer under other fingerprints, and none under this one."""
        count = 0
        for start in range(0, len(keys), _LOOKUP_BATCH):
            chunk = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(chunk))
            query = (
                f"SELECT count(*) FROM (SELECT item FROM settled WHERE item IN ({marks}) AND state=0 "  # noqa: S608 - question marks alone
                "GROUP BY item HAVING sum(fingerprint=?)=0)"
            )
            count += self._db.execute(query, (*chunk, self._id(fingerprint))).fetchone()[0]
        return count

    def fingerprints(self) -> list[str]:
        """The fingerprints that have settled items, or were accepted."""
        return [text for (text,) in self._db.execute("SELECT fingerprint FROM fingerprints ORDER BY id")]

    def accept(self, fingerprint: str) -> None:
        """Remembers a fingerprint, so that a resumed run needs no second leave."""
        self._db.execute("INSERT OR IGNORE INTO fingerprints (fingerprint) VALUES (?)", (fingerprint,))

    def answer_place(self, reuse: bytes) -> tuple[PendingRow | None, str | None, str] | None:
        """Where an identical request was answered: its pending row, or its part's name; and the item's id."""
        found = self._db.execute("SELECT pending, part, item_id FROM answers WHERE reuse=?", (reuse,)).fetchone()
        if found is None:
            return None
        pending, part, item_id = found
        row = self._db.execute("SELECT body, thumbnail FROM pending WHERE id=?", (pending,)).fetchone()
        if row is None:
            return None, part, item_id
        return PendingRow(Kind.RESULTS, json.loads(row[0]), thumbnail=row[1]), None, item_id

    # Publishing.

    def pending_counts(self) -> dict[Kind, int]:
        """Rows that have no part yet."""
        found = dict(self._db.execute("SELECT kind, count(*) FROM pending WHERE part IS NULL GROUP BY kind"))
        return {kind: found.get(number, 0) for number, kind in enumerate(_KINDS)}

    def reserve(self, kind: Kind, name: str, most: int) -> Reservation | None:
        """Gives the oldest rows of one kind and shape the name of a part; `None` where no row waits."""
        number = _KINDS.index(kind)
        first = self._db.execute(
            "SELECT shape FROM pending WHERE kind=? AND part IS NULL ORDER BY id LIMIT 1", (number,)
        ).fetchone()
        if first is None:
            return None
        changed = self._db.execute(
            "UPDATE pending SET part=? WHERE id IN (SELECT id FROM pending WHERE kind=? AND part IS NULL AND shape=? "
            "ORDER BY id LIMIT ?)",
            (name, number, first[0], most),
        ).rowcount
        self._db.execute("INSERT INTO parts VALUES (?, ?, 0, ?)", (name, number, changed))
        manifest, data = self._db.execute("SELECT manifest, data FROM shapes WHERE id=?", (first[0],)).fetchone()
        return Reservation(name, kind, manifest, data)

    def reserved(self) -> list[Reservation]:
        """Parts that were named and are not known to be in place."""
        query = (
            "SELECT parts.name, parts.kind, (SELECT shape FROM pending WHERE part=parts.name LIMIT 1) "
            "FROM parts WHERE published=0"
        )
        found = []
        for name, number, shape in self._db.execute(query).fetchall():
            row = self._db.execute("SELECT manifest, data FROM shapes WHERE id=?", (shape,)).fetchone()
            manifest, data = row or (None, None)
            found.append(Reservation(name, _KINDS[number], manifest, data))
        return found

    def rows_of(self, name: str) -> Iterator[tuple[dict[str, Any], bytes | None, bytes | None]]:
        """The rows reserved for a part, in order: columns, extras, thumbnail."""
        found = self._db.execute(
            "SELECT body, extras, thumbnail FROM pending INDEXED BY pending_part WHERE part=? AND kind IN (0, 1, 2) "
            "ORDER BY id",
            (name,),
        )
        for body, extras, thumbnail in found:
            yield json.loads(body), extras, thumbnail

    def published(self, name: str) -> None:
        """The part is in place: its rows leave the journal."""
        self._db.execute(
            "UPDATE answers SET part=?, pending=NULL WHERE reuse IN "
            "(SELECT reuse FROM pending WHERE part=? AND reuse IS NOT NULL) AND part IS NULL",
            (name, name),
        )
        self._db.execute("DELETE FROM pending WHERE part=?", (name,))
        self._db.execute("UPDATE parts SET published=1 WHERE name=?", (name,))

    def known_parts(self) -> dict[str, Kind]:
        """The parts that this journal published."""
        found = self._db.execute("SELECT name, kind FROM parts WHERE published=1")
        return {name: _KINDS[number] for name, number in found}

    def adopt_part(self, name: str, kind: Kind, rows: int) -> None:
        """Takes a part that stands in the dataset into the list."""
        self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, 1, ?)", (name, _KINDS.index(kind), rows))

    def forget_part(self, name: str) -> None:
        """Strikes a part that is gone from the list."""
        self._db.execute("DELETE FROM parts WHERE name=?", (name,))
        self._db.execute("DELETE FROM answers WHERE part=?", (name,))

    def forget_settled(self) -> None:
        """Empties the index, before it is filled again from parts and pending rows."""
        self._db.execute("DELETE FROM settled")

    def pending_rows(self) -> Iterator[tuple[Kind, dict[str, Any]]]:
        """Every row that is not in a published part, oldest first."""
        for number, body in self._db.execute("SELECT kind, body FROM pending ORDER BY id"):
            yield _KINDS[number], json.loads(body)

    def _id(self, fingerprint: str) -> int:
        known = self._ids.get(fingerprint)
        if known is None:
            query = "SELECT id FROM fingerprints WHERE fingerprint=?"
            found = self._db.execute(query, (fingerprint,)).fetchone()
            if found is None:
                if not self._db.in_transaction:
                    return -1
                self.accept(fingerprint)
                found = self._db.execute(query, (fingerprint,)).fetchone()
            known = self._ids[fingerprint] = int(found[0])
        return known

    def _shape(self, manifest: bytes | None, data: str | None) -> int:
        key = (manifest, data)
        known = self._shapes.get(key)
        if known is None:
            query = "SELECT id FROM shapes WHERE manifest IS ? AND data IS ?"
            found = self._db.execute(query, key).fetchone()
            if found is None:
                self._db.execute("INSERT INTO shapes (manifest, data) VALUES (?, ?)", key)
                found = self._db.execute(query, key).fetchone()
            known = self._shapes[key] = int(found[0])
        return known
