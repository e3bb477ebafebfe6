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
that its size (about 50 bytes an item) does not depend on captions; the module of that name has it. `database` guards
the file, `pending` holds the rows of steps 3 to 6.

Rejected: appending to one log file (group commit, checksums and torn tails would be ours to get right, and the index
a second store); writing Parquet row by row (a part cannot be appended to); a server database (a cron job on a laptop
has none).

This module is synchronous SQL and nothing else; `ledger` decides when, and on which thread.
"""

import json
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.store.database import Database
from pipeline.store.keys import item_key
from pipeline.store.pending import PendingRow, PendingRows, Reservation
from pipeline.store.schema import Kind
from pipeline.store.settled import SettledAs, SettledIndex, Standing

__all__ = ["Journal", "PaidTurn", "PendingRow", "Reservation", "SettledAs", "Standing", "item_key"]


@dataclass(frozen=True, slots=True)
class PaidTurn:
    """A turn that was answered while its item is not settled: the request row and the whole answer."""

    turn: int
    attempt: int
    body: dict[str, Any] = field(repr=False)
    answer: bytes = field(repr=False)


class Journal(SettledIndex):
    """One connection to the journal. Not thread-safe: one thread at a time.

    Args:
        path: the database file; made with mode 0600 where there is none.
        read_only: opens without the right to write.

    Attributes:
        database: the file, and its transactions.
        pending: the rows on their way to parts.

    Raises:
        OutputError: the journal was written by a newer version.
        sqlite3.DatabaseError: the file is damaged, or cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.database = Database(path, read_only=read_only)
        super().__init__(self.database.connection)
        self.pending = PendingRows(self._db)

    def close(self) -> None:
        """Closes the connection; the write-ahead log is folded into the file."""
        self.database.close()

    def check(self) -> None:
        """Reads everything in a journal that is not sealed but its index, which `recovery` holds against the parts.

        Raises:
            sqlite3.DatabaseError: something in it is damaged.
        """
        self.database.check()
        if self.database.is_sealed:
            return
        try:
            everything = chain(self.pending.rows(), self._turn_bodies(), self.flights(), self.unfinished_runs())
            deque(everything, maxlen=0)
            self.pending.known_parts()
        except (ValueError, TypeError, IndexError) as error:
            raise sqlite3.DatabaseError(f"a row of it cannot be read: {error}") from error

    def begin(self) -> None:
        """Starts a transaction."""
        self.database.begin()

    def commit(self) -> None:
        """Ends it; synced when this returns."""
        self.database.commit()

    def rollback(self) -> None:
        """Takes it back."""
        self.database.rollback()
        self.forget_cached()
        self.pending.forget_cached()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

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

    def add_flight(self, flight: int, text: str) -> None:
        """A request is about to be sent: its row of `requests` as JSON."""
        self._db.execute("INSERT INTO flights VALUES (?, ?)", (flight, text))

    def end_flight(self, flight: int) -> None:
        """Its end is known."""
        self._db.execute("DELETE FROM flights WHERE id=?", (flight,))

    def flights(self) -> list[tuple[int, dict[str, Any]]]:
        """Requests whose end is not known: what a killed run had in flight."""
        return [(flight, json.loads(body)) for flight, body in self._db.execute("SELECT id, body FROM flights")]

    def add_turn(self, item: bytes, fingerprint: str, paid: PaidTurn, text: str = "") -> None:
        """Keeps the answer of a paid turn until its item is settled; `text` is its row as JSON, if that is written."""
        text = text or json.dumps(paid.body)
        values = (item, self._id(fingerprint), paid.turn, paid.attempt, text, paid.answer)
        self._db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)", values)

    def paid_turns(self, item: bytes, fingerprint: str) -> list[PaidTurn]:
        """The paid turns of an item that is not settled, in order."""
        found = self._db.execute(
            "SELECT turn, attempt, body, answer FROM turns WHERE item=? AND fingerprint=? ORDER BY turn, attempt",
            (item, self._known_id(fingerprint)),
        )
        return [PaidTurn(turn, attempt, json.loads(body), answer) for turn, attempt, body, answer in found]

    def items_with_turns(self, fingerprint: str) -> set[bytes]:
        """The keys of the items that have paid turns and are not settled."""
        found = self._db.execute("SELECT DISTINCT item FROM turns WHERE fingerprint=?", (self._known_id(fingerprint),))
        return {key for (key,) in found}

    def add_row(self, row: PendingRow) -> None:
        """Puts a row on its way to a part."""
        self.pending.add(row)

    def has_leave(self, fingerprint: str) -> bool:
        """Whether items may be paid for again under this fingerprint."""
        query = "SELECT EXISTS (SELECT 1 FROM meta WHERE name=?)"
        return bool(self._db.execute(query, (f"leave {fingerprint}",)).fetchone()[0])

    def give_leave(self, fingerprint: str) -> None:
        """Remembers that they may, in a transaction of its own: a run that resumes needs no second leave."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, '1')", (f"leave {fingerprint}",))

    def note_merges(self, kind: Kind, note: str) -> None:
        """Remembers which parts of a table a compaction is about to replace, and by which."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"merges {kind.value}", note))

    def merges(self) -> dict[Kind, str]:
        """The notes of compactions that have not come to their end."""
        found = self._db.execute("SELECT name, value FROM meta WHERE name LIKE 'merges %'")
        return {Kind(name.removeprefix("merges ")): note for name, note in found}

    def forget_merges(self, kind: Kind) -> None:
        """The compaction of a table has come to its end, or did nothing."""
        self._db.execute("DELETE FROM meta WHERE name=?", (f"merges {kind.value}",))

    def _turn_bodies(self) -> Iterator[Any]:
        for (body,) in self._db.execute("SELECT body FROM turns"):
            yield json.loads(body)
