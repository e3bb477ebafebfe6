"""A dataset to be looked through while it grows: searched, filtered, sorted, a page of whole rows at a time.

Held in memory are light rows (see `searching`) of the newest parts, at most `MOST_ROWS`; pictures and whole rows are
read when a page shows them. A part is read once. What a run has received and not yet written to a part is there too
(see `waiting`). An item is shown by its newest row under the fingerprint.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.parts import Stamp, list_parts, opened_part, stamp_of
from pipeline.store.picking import RowPlace, rows_at
from pipeline.store.schema import Kind
from pipeline.store.searching import COLUMN, LIGHT_COLUMNS, LIGHT_SCHEMA, Query, chosen, light_rows, ordered
from pipeline.store.tables import read_part
from pipeline.store.waiting import Waiting, look

__all__ = ["MOST_ROWS", "Browser", "Found"]

logger = logging.getLogger(__name__)
MOST_ROWS = 300_000
_FEW = 50
_PIECE = 2048


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what a query found: whole rows (failed ones have an `error_type`), and how many there are in all."""

    total: int
    rows: list[dict[str, Any]]


@dataclass(slots=True)
class _Source:
    """Where rows come from: a part, or rows that wait in the journal."""

    kind: Kind
    light: pa.Table
    stamp: Stamp | None = None
    path: Place | None = None
    whole: pa.Table | None = field(default=None, repr=False)

    def rows(self, numbers: list[int]) -> list[dict[str, Any] | None]:
        """Whole rows by their numbers."""
        if self.path is not None:
            return rows_at([RowPlace(self.path, number) for number in numbers], self.kind)
        found: list[dict[str, Any] | None] = []
        if self.whole is not None:
            found += self.whole.take(pa.array(numbers, pa.int64())).to_pylist()
        return found


class Browser:
    """One dataset as it stood at the last `refresh`. Not thread-safe.

    Args:
        output: the dataset.
        fingerprint: whose rows; without one, the newest row's.
        most: rows that are held.

    Attributes:
        fingerprint: whose rows there are; empty while there are none.
        waiting: what a run has not yet written to a part.
        left_out: rows that are not held, because there are more than `most`.
    """

    def __init__(self, output: Place, fingerprint: str | None = None, most: int = MOST_ROWS) -> None:
        self._output = output
        self._wanted = fingerprint
        self._most = most
        self._parts: dict[Place, _Source] = {}
        self._sources: list[_Source] = []
        self._rows = _placed(LIGHT_SCHEMA.empty_table(), 0)
        self._seen: object = None
        self.waiting = Waiting()
        self.fingerprint = fingerprint or ""
        self.left_out = 0

    def refresh(self) -> bool:
        """Takes up what is new; returns whether anything is."""
        self.waiting = look(
            self._output, self.waiting
        )  # before the parts are listed: a row is in one or in both, never in neither
        paths = [(kind, path) for kind in LIGHT_COLUMNS for path in list_parts(self._output, kind)]
        self._parts = {path: self._part(kind, path) for kind, path in paths}
        seen = [(path, source.stamp) for path, source in self._parts.items()], self.waiting.marks
        if seen == self._seen:
            return False
        self._seen = seen
        tables = [pair for pairs in self.waiting.tables.values() for pair in pairs]
        waiting = [_Source(kind, light_rows(kind, table), whole=table) for kind, table in tables]
        newest_first = sorted(self._parts.values(), key=lambda source: str(source.path and source.path.name))[::-1]
        self._sources = [*waiting, *newest_first]
        self._combine()
        return True

    def facets(self) -> dict[str, Any]:
        """What there is to filter by: kinds and warnings with how often each is, and the manifest's columns."""
        warnings: dict[str, int] = {}
        for one in pc.value_counts(self._rows["warnings"]).to_pylist():
            for name in filter(None, one["values"].split("\n")):
                warnings[name] = warnings.get(name, 0) + one["counts"]
        kinds = {one["values"]: one["counts"] for one in pc.value_counts(self._rows["kind"]).to_pylist()}
        columns = [name.removeprefix(COLUMN) for name in self._rows.column_names if name.startswith(COLUMN)]
        values = {name: texts for name in columns if (texts := _few(self._rows[f"{COLUMN}{name}"]))}
        return {
            "kinds": dict(sorted(kinds.items())),
            "warnings": dict(sorted(warnings.items())),
            "columns": columns,
            "values": values,
        }

    def find(self, query: Query, offset: int, most: int) -> Found:
        """A page of what a query finds."""
        rows = chosen(self._rows, query)
        return Found(len(rows), self._whole(ordered(rows, query).slice(offset, most)))

    def row(self, item_id: str, fingerprint: str) -> dict[str, Any] | None:
        """One whole row, `None` where there is none."""
        mine = pc.and_(pc.equal(self._rows["item_id"], item_id), pc.equal(self._rows["fingerprint"], fingerprint))
        return next(iter(self._whole(self._rows.filter(mine).slice(0, 1))), None)

    def made_since(self, moment_us: int) -> int:
        """How many rows were made after a moment, in microseconds since the epoch."""
        later = pc.greater(self._rows["created_at"].cast(pa.int64()), moment_us)
        return int(pc.sum(later, min_count=0).as_py())

    def newest_us(self) -> int:
        """When the newest row was made, in microseconds since the epoch; 0 where there is none."""
        return int(pc.max(self._rows["created_at"].cast(pa.int64())).as_py() or 0)

    def __len__(self) -> int:
        """Items."""
        return len(self._rows)

    def _part(self, kind: Kind, path: Place) -> _Source:
        stamp = stamp_of(path)
        known = self._parts.get(path)
        if known is not None and known.stamp == stamp:
            return known
        batches = read_part(path, kind, [*LIGHT_COLUMNS[kind], *_manifest(path)])
        pieces = [batch.slice(start, _PIECE) for batch in batches for start in range(0, len(batch), _PIECE)]
        lights = [light_rows(kind, pa.Table.from_batches([piece])) for piece in pieces]
        light = pa.concat_tables(lights) if lights else LIGHT_SCHEMA.empty_table()
        return _Source(kind, light, stamp, path)

    def _combine(self) -> None:
        """Every item by its newest row."""
        taken, left = [_placed(LIGHT_SCHEMA.empty_table(), 0)], self._most
        for number, source in enumerate(self._sources):
            taken.append(_placed(source.light, number).slice(0, max(left, 0)))
            left -= len(source.light)
        self.left_out = max(-left, 0)
        rows = pa.concat_tables(taken, promote_options="permissive").sort_by([("created_at", "descending")])
        if len(rows):
            self.fingerprint = self._wanted or rows["fingerprint"][0].as_py()
        rows = rows.filter(pc.equal(rows["fingerprint"], self.fingerprint))
        numbered = rows.append_column("at", pa.array(range(len(rows)), pa.int64()))
        firsts = numbered.group_by("key", use_threads=False).aggregate([("at", "min")])["at_min"]
        self._rows = rows.take(firsts.take(pc.sort_indices(firsts)))

    def _whole(self, rows: pa.Table) -> list[dict[str, Any]]:
        places = list(zip(rows["source"].to_pylist(), rows["row"].to_pylist(), strict=True))
        found: dict[tuple[int, int], dict[str, Any] | None] = {}
        for number in dict.fromkeys(source for source, _ in places):
            mine = [row for source, row in places if source == number]
            values = self._sources[number].rows(mine)
            found |= {(number, row): value for row, value in zip(mine, values, strict=True)}
        return [row for place in places if (row := found[place]) is not None]


def _placed(light: pa.Table, source: int) -> pa.Table:
    """Light rows with where they come from."""
    numbers = pa.array(range(len(light)), pa.int32())
    return light.append_column("source", pa.array([source] * len(light), pa.int32())).append_column("row", numbers)


def _few(texts: pa.ChunkedArray) -> list[str]:
    """The different texts, where they are few enough to choose from."""
    found = pc.unique(texts)
    return sorted(filter(None, found.to_pylist())) if len(found) <= _FEW else []


def _manifest(path: Place) -> list[str]:
    """The manifest's column, where a part has one."""
    try:
        with opened_part(path) as part:
            return ["manifest"] if "manifest" in part.schema_arrow.names else []
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return []  # whoever reads the part says what is wrong with it
