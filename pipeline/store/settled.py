"""The index of what is settled: which items have an answer, or a failure, under which fingerprint.

It stays for ever, and is what the next run skips by. Keyed by a 16-byte hash of the item id, so that its size (about 50
bytes an item) does not depend on captions; fingerprints are numbered, so that they cost a byte. The half of the journal
that remembers; `pending` is the half that publishes.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

__all__ = ["SettledAs", "SettledIndex", "Standing"]

_LOOKUP_BATCH = 1000
_SETTLE = (
    "INSERT INTO settled VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET state=excluded.state, "
    "error_type=excluded.error_type WHERE settled.state != 0"
)


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


class SettledIndex:
    """The tables of fingerprints and settled items behind one connection; the caller opens the transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._ids: dict[str, int] = {}

    def forget_cached(self) -> None:
        """A transaction was taken back, and with it fingerprints that it had added."""
        self._ids.clear()

    def settle(self, item: bytes, fingerprint: str, standing: Standing) -> None:
        """Marks an item as settled, and lets go of its kept turns; a success is never unmade by a failure."""
        key = (item, self._id(fingerprint))
        self._db.execute(_SETTLE, (*key, int(standing.state), standing.error_type))
        self._db.execute("DELETE FROM turns WHERE item=? AND fingerprint=?", key)

    def settle_all(self, rows: Iterable[tuple[bytes, str, Standing]]) -> None:
        """Marks many items, newer rows last; a success is never unmade by a failure."""
        self._db.executemany(
            _SETTLE,
            ((key, self._id(mark), int(standing.state), standing.error_type) for key, mark, standing in rows),
        )

    def has_succeeded(self, item: bytes, fingerprint: str) -> bool:
        """Whether the item has an answer under this fingerprint."""
        query = "SELECT EXISTS (SELECT 1 FROM settled WHERE item=? AND fingerprint=? AND state=0)"
        return bool(self._db.execute(query, (item, self._known_id(fingerprint))).fetchone()[0])

    def standings(self, keys: Sequence[bytes], fingerprint: str) -> dict[bytes, Standing]:
        """How these items stand under a fingerprint; unsettled ones are left out."""
        mark = self._known_id(fingerprint)
        found: dict[bytes, Standing] = {}
        for start in range(0, len(keys), _LOOKUP_BATCH):
            chunk = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT item, state, error_type FROM settled WHERE item IN ({marks}) AND fingerprint=?"  # noqa: S608 - question marks alone
            for key, state, error_type in self._db.execute(query, (*chunk, mark)):
                found[key] = _standing(state, error_type)
        return found

    def successes(self, keys: Sequence[bytes], fingerprint: str) -> int:
        """How many of these items, each of them once, have an answer under a fingerprint."""
        count = 0
        for start in range(0, len(keys), _LOOKUP_BATCH):
            chunk = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT count(*) FROM settled WHERE item IN ({marks}) AND fingerprint=? AND state=0"  # noqa: S608 - question marks alone
            count += self._db.execute(query, (*chunk, self._known_id(fingerprint))).fetchone()[0]
        return count

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
            count += self._db.execute(query, (*chunk, self._known_id(fingerprint))).fetchone()[0]
        return count

    def fingerprints(self) -> list[str]:
        """The fingerprints that runs have written under, oldest first."""
        return [text for (text,) in self._db.execute("SELECT fingerprint FROM fingerprints ORDER BY id")]

    def accept(self, fingerprint: str) -> None:
        """Remembers a fingerprint that a run writes under."""
        self._db.execute("INSERT OR IGNORE INTO fingerprints (fingerprint) VALUES (?)", (fingerprint,))

    def settled_sums(self) -> dict[str, tuple[int, int]]:
        """By fingerprint, how many items succeeded, and the exclusive or of their keys: equal for equal indexes."""
        sums: dict[str, tuple[int, int]] = {}
        query = (
            "SELECT fingerprints.fingerprint, item FROM settled LEFT JOIN fingerprints ON id=settled.fingerprint "
            "WHERE state=0"
        )
        for fingerprint, key in self._db.execute(query):
            count, mixed = sums.get(fingerprint, (0, 0))
            sums[fingerprint] = count + 1, mixed ^ int.from_bytes(key)
        return sums

    def forget_settled(self) -> None:
        """Empties the index, before it is filled again from parts and pending rows."""
        self._db.execute("DELETE FROM settled")

    def _id(self, fingerprint: str) -> int:
        """The number of a fingerprint that is being written."""
        if self._known_id(fingerprint) < 0:
            self.accept(fingerprint)
        return self._known_id(fingerprint)

    def _known_id(self, fingerprint: str) -> int:
        """The number of a fingerprint, -1 where the journal does not know it."""
        known = self._ids.get(fingerprint)
        if known is None:
            query = "SELECT id FROM fingerprints WHERE fingerprint=?"
            found = self._db.execute(query, (fingerprint,)).fetchone()
            if found is None:
                return -1
            known = self._ids[fingerprint] = int(found[0])
        return known


@lru_cache(maxsize=1000)
def _standing(state: int, error_type: str | None) -> Standing:
    """One object for all items that stand alike."""
    return Standing(SettledAs(state), error_type)
