"""Rows on their way to a part: the half of the journal that publishes.

A row waits here from the commit that settled its item until its part is in its place. Between, its part has a name:
whoever finds a named part writes the same rows to the same name, or finds it whole and lets the rows go.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.store.parts import Stamp
from pipeline.store.schema import Kind

__all__ = ["PartRow", "PendingRow", "PendingRows", "Reservation"]

_KINDS = list(Kind)
PartRow = tuple[dict[str, Any], bytes | None, bytes | None]
"""A row as a part is made of it: columns, the manifest's message, the thumbnail."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row of the dataset on its way to a part.

    Attributes:
        body: the columns as plain JSON values, times as microseconds since the epoch.
        manifest_schema: the serialized Arrow schema of `extras`, `None` where there are none.
        data_schema: the JSON schema behind the `data` column, as canonical JSON text.
        extras: the manifest's other columns as one serialized record batch.
        reuse: the key by which identical requests find this answer.
        replaces: whether it takes the place of a row of `results` that is published already (see `replacing`).
        text: `body` as JSON, where that was written already.
    """

    kind: Kind
    body: dict[str, Any]
    manifest_schema: bytes | None = None
    data_schema: str | None = None
    extras: bytes | None = None
    thumbnail: bytes | None = None
    reuse: bytes | None = None
    replaces: bool = False
    text: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part that was named before it is written, with the shape of its rows, and how many they are."""

    name: str
    kind: Kind
    rows: int = 0
    manifest_schema: bytes | None = None
    data_schema: str | None = None
    thumbnails: bool = False


class PendingRows:
    """The tables of rows, parts and answers behind one connection; the caller opens the transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._shapes: dict[tuple[bytes | None, str | None], int] = {}

    def forget_cached(self) -> None:
        """A transaction was taken back, and with it shapes that it had added."""
        self._shapes.clear()

    def add(self, row: PendingRow) -> None:
        """Puts a row on its way."""
        cursor = self._db.execute(
            "INSERT INTO pending (kind, shape, body, extras, thumbnail, reuse, replaces) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                _KINDS.index(row.kind),
                self._shape(row.manifest_schema, row.data_schema),
                row.text or json.dumps(row.body, ensure_ascii=False, separators=(",", ":")),
                row.extras,
                row.thumbnail,
                row.reuse,
                row.replaces,
            ),
        )
        if row.reuse is not None:
            self._db.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, NULL, ?)",
                (row.reuse, cursor.lastrowid, row.body["item_id"]),
            )

    def rows(self) -> Iterator[tuple[Kind, dict[str, Any]]]:
        """Every row on its way to a new part, oldest first."""
        for number, body in self._db.execute("SELECT kind, body FROM pending WHERE replaces=0 ORDER BY id"):
            yield _KINDS[number], json.loads(body)

    def numbered_rows(self, kind: Kind) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of one table that are not in a published part, with the number by which `drop` knows them."""
        found = self._db.execute(
            "SELECT id, body FROM pending WHERE kind=? AND replaces=0 ORDER BY id", (_KINDS.index(kind),)
        )
        for number, body in found.fetchall():
            yield number, json.loads(body)

    def drop(self, number: int, part: str) -> None:
        """Lets go of one row, which stands in this part already."""
        self._db.execute("UPDATE answers SET part=?, pending=NULL WHERE pending=?", (part, number))
        self._db.execute("DELETE FROM pending WHERE id=?", (number,))

    def waits(self, kind: Kind) -> bool:
        """Whether a row of this table has no part yet."""
        query = "SELECT EXISTS (SELECT 1 FROM pending WHERE part IS NULL AND kind=? AND replaces=0)"
        return bool(self._db.execute(query, (_KINDS.index(kind),)).fetchone()[0])

    def reserve(self, kind: Kind, name: str, most: int) -> Reservation | None:
        """Gives the oldest rows of one kind and shape the name of a part; `None` where no row waits."""
        number = _KINDS.index(kind)
        first = self._db.execute(
            "SELECT shape FROM pending WHERE part IS NULL AND kind=? AND replaces=0 ORDER BY id LIMIT 1", (number,)
        ).fetchone()
        if first is None:
            return None
        self._db.execute(
            "UPDATE pending SET part=? WHERE id IN (SELECT id FROM pending WHERE part IS NULL AND kind=? AND shape=? "
            "AND replaces=0 ORDER BY id LIMIT ?)",
            (name, number, first[0], most),
        )
        self._db.execute("INSERT INTO parts (name, kind, published, bytes) VALUES (?, ?, 0, 0)", (name, number))
        return self._reservation(name, number)

    def reserved(self) -> list[Reservation]:
        """Parts that were named and are not known to be in place."""
        found = self._db.execute("SELECT name, kind FROM parts WHERE published=0 ORDER BY name").fetchall()
        return [self._reservation(name, number) for name, number in found]

    def rows_of(self, name: str) -> Iterator[PartRow]:
        """The rows reserved for a part, in order: columns, extras, thumbnail."""
        found = self._db.execute("SELECT body, extras, thumbnail FROM pending WHERE part=? ORDER BY id", (name,))
        for body, extras, thumbnail in found:
            yield json.loads(body), extras, thumbnail

    def published(self, name: str, stamp: Stamp) -> None:
        """The part is in place: its rows leave the journal."""
        self._db.execute(
            "UPDATE answers SET part=?, pending=NULL WHERE part IS NULL AND reuse IN "
            "(SELECT reuse FROM pending WHERE part=? AND reuse IS NOT NULL)",
            (name, name),
        )
        self._db.execute("DELETE FROM pending WHERE part=?", (name,))
        self._db.execute(
            "UPDATE parts SET published=1, bytes=?, changed_ns=? WHERE name=?", (stamp.bytes, stamp.changed_ns, name)
        )

    def known_parts(self) -> dict[tuple[Kind, str], Stamp]:
        """The parts that this journal published, and their stamps."""
        found = self._db.execute("SELECT name, kind, bytes, changed_ns FROM parts WHERE published=1")
        return {(_KINDS[number], name): Stamp(size, changed_ns) for name, number, size, changed_ns in found}

    def adopt_part(self, kind: Kind, name: str, stamp: Stamp) -> None:
        """Takes a part that stands in the dataset into the list, or what it is now."""
        values = (name, _KINDS.index(kind), stamp.bytes, stamp.changed_ns)
        self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, 1, ?, ?)", values)

    def merge_parts(self, kind: Kind, old: Sequence[str], name: str, stamp: Stamp) -> None:
        """The rows of old parts stand in a new one."""
        for gone in old:
            self._db.execute("UPDATE answers SET part=? WHERE part=?", (name, gone))
            self._db.execute("DELETE FROM parts WHERE name=? AND kind=?", (gone, _KINDS.index(kind)))
        self.adopt_part(kind, name, stamp)

    # Rows that take the place of published ones.

    def replacements(self) -> list[tuple[int, str, str]]:
        """Number, item and fingerprint of the rows of `results` that take the place of published ones."""
        found = self._db.execute("SELECT id, body FROM pending WHERE replaces=1 ORDER BY id").fetchall()
        rows = ((number, json.loads(body)) for number, body in found)
        return [(number, row["item_id"], row["fingerprint"]) for number, row in rows]

    def replacing_rows(self, numbers: Sequence[int]) -> Iterator[tuple[Reservation, PartRow]]:
        """These rows, each with what decides the shape of a part that holds it."""
        for number in numbers:
            body, extras, thumbnail, shape = self._db.execute(
                "SELECT body, extras, thumbnail, shape FROM pending WHERE id=?", (number,)
            ).fetchone()
            manifest, data = self._db.execute("SELECT manifest, data FROM shapes WHERE id=?", (shape,)).fetchone()
            reservation = Reservation("", Kind.RESULTS, 1, manifest, data, thumbnail is not None)
            yield reservation, (json.loads(body), extras, thumbnail)

    def replaced(self, numbers: Sequence[int], name: str, stamp: Stamp) -> None:
        """The rows stand in this part, where the ones before them stood: identical requests find the new answers."""
        wanted = set(numbers)
        items = {item_id for number, item_id, _ in self.replacements() if number in wanted}
        old = self._db.execute("SELECT reuse, item_id FROM answers WHERE part=?", (name,)).fetchall()
        gone = [(reuse,) for reuse, item_id in old if item_id in items]
        self._db.executemany("DELETE FROM answers WHERE reuse=?", gone)
        for number in numbers:
            self._db.execute("UPDATE answers SET part=?, pending=NULL WHERE pending=?", (name, number))
            self._db.execute("DELETE FROM pending WHERE id=?", (number,))
        self.adopt_part(Kind.RESULTS, name, stamp)

    def nothing_to_replace(self, numbers: Sequence[int]) -> None:
        """There is no published row of these items after all: they go the usual way."""
        self._db.executemany("UPDATE pending SET replaces=0 WHERE id=?", ((number,) for number in numbers))

    def forget_part(self, kind: Kind, name: str) -> None:
        """Strikes a part that is gone from the list."""
        self._db.execute("DELETE FROM parts WHERE name=? AND kind=?", (name, _KINDS.index(kind)))
        self._db.execute("DELETE FROM answers WHERE part=?", (name,))

    def answer_place(self, reuse: bytes) -> tuple[dict[str, Any] | None, str | None, str] | None:
        """Where an identical request was answered: its pending row's columns, or its part's name; and the item's id."""
        found = self._db.execute("SELECT pending, part, item_id FROM answers WHERE reuse=?", (reuse,)).fetchone()
        if found is None:
            return None
        pending, part, item_id = found
        row = self._db.execute("SELECT body FROM pending WHERE id=?", (pending,)).fetchone()
        return (json.loads(row[0]) if row else None), part, item_id

    def _reservation(self, name: str, number: int) -> Reservation:
        rows, shape, thumbnails = self._db.execute(
            "SELECT count(*), min(shape), count(thumbnail) FROM pending WHERE part=?", (name,)
        ).fetchone()
        found = self._db.execute("SELECT manifest, data FROM shapes WHERE id=?", (shape,)).fetchone()
        manifest, data = found or (None, None)
        return Reservation(name, _KINDS[number], rows, manifest, data, thumbnails > 0)

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
