"""What a run has received and not yet written to a part, read over its shoulder out of its journal.

A reader that only looks: the journal is opened without any right to write (its shared memory included, which a plain
read-only connection would make), for as long as one question takes, and only while a run has it open. Where that
cannot be done there is nothing waiting. A run that happens to close its journal in the very milliseconds of a look
leaves it unsealed, as a killed one would: the next start checks it, and nothing is lost.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.store.buckets import Place
from pipeline.store.parts import folder
from pipeline.store.pending import Reservation
from pipeline.store.places import JOURNAL, state_path
from pipeline.store.rows import reserved_schema, to_table
from pipeline.store.schema import Kind

__all__ = ["Waiting", "look"]

_KINDS = list(Kind)
_MOST_ROWS = 2000
_ROWS = "SELECT kind, shape, body, extras, thumbnail FROM pending WHERE kind IN (0, 1) ORDER BY id DESC LIMIT ?"
_MARK = "SELECT coalesce(max(id), 0), count(*) FROM pending WHERE kind IN (0, 1)"
_BILL = (
    "SELECT part, count(*), sum(json_extract(body, '$.cost_usd')), sum(json_extract(body, '$.input_tokens')), "
    "sum(json_extract(body, '$.output_tokens')), max(json_extract(body, '$.started_at')) FROM pending "
    "WHERE kind=2 GROUP BY part"
)


@dataclass(slots=True)
class Waiting:
    """Rows on their way to parts.

    Attributes:
        runs: what the journal says of runs that have not ended, with their `run_id`.
        tables: rows of `results` and `failures` by journal, newest first, at most `_MOST_ROWS` of each.
        marks: what tells by journal whether these rows are others than they were.
        sent: requests whose rows are not in a part.
        cost_usd: of these.
        bills: the sums of requests by the part that they will be in.
        last_request_us: when the newest of these was sent, in microseconds since the epoch; 0 for none.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[tuple[Kind, pa.Table]]] = field(default_factory=dict)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    sent: int = 0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    last_request_us: int = 0
    bills: list[tuple[Any, ...]] = field(default_factory=list)


def look(output: Place, before: Waiting | None = None) -> Waiting:
    """What waits now, in all journals of the dataset; asked before the parts are listed, nothing is missed.

    Args:
        output: the dataset.
        before: an earlier answer, whose rows are taken over where they are the same.
    """
    found = Waiting()
    state = state_path(output)
    for journal in (state / JOURNAL, *sorted(state.glob(f"shards/*/{JOURNAL}"))):
        if journal.with_name(f"{journal.name}-shm").is_file():
            with suppress(sqlite3.Error, OSError, ValueError, pa.ArrowException), closing(_opened(journal)) as database:
                _read(database, journal.parent.name, found, before or found)
    _sum(output, found)
    return found


def _opened(journal: Path) -> sqlite3.Connection:
    address = f"{journal.absolute().as_uri()}?mode=ro&readonly_shm=1"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=1)


def _read(database: sqlite3.Connection, name: str, found: Waiting, before: Waiting) -> None:
    database.execute("BEGIN")
    mark = database.execute(_MARK).fetchone()
    is_known = before.marks.get(name) == mark
    runs = database.execute("SELECT run_id, body FROM runs").fetchall()
    shapes = {number: (manifest, data) for number, manifest, data in database.execute("SELECT * FROM shapes")}
    rows = [] if is_known else database.execute(_ROWS, (_MOST_ROWS,)).fetchall()
    bill = database.execute(_BILL).fetchall()
    database.close()
    found.runs += [{**json.loads(body), "run_id": run_id} for run_id, body in runs]
    found.bills += bill
    found.tables[name] = before.tables[name] if is_known else list(_tables(rows, shapes))
    found.marks[name] = mark


def _sum(output: Place, found: Waiting) -> None:
    """Adds up the requests whose parts are not in their places."""
    for part, sent, cost_usd, input_tokens, output_tokens, last_us in found.bills:
        if part is None or not (folder(output, Kind.REQUESTS) / part).exists():
            found.sent += sent
            found.cost_usd += cost_usd or 0.0
            found.input_tokens += input_tokens or 0
            found.output_tokens += output_tokens or 0
        found.last_request_us = max(found.last_request_us, last_us or 0)


def _tables(
    rows: list[tuple[Any, ...]], shapes: dict[int, tuple[bytes | None, str | None]]
) -> Iterator[tuple[Kind, pa.Table]]:
    groups: dict[tuple[int, int, bool], list[tuple[dict[str, Any], bytes | None, bytes | None]]] = {}
    for number, shape, body, extras, thumbnail in rows:
        key = number, shape, thumbnail is not None
        groups.setdefault(key, []).append((json.loads(body), extras, thumbnail))
    for (number, shape, thumbnails), group in groups.items():
        manifest, data = shapes.get(shape, (None, None))
        reserved = Reservation("", _KINDS[number], len(group), manifest, data, thumbnails)
        yield _KINDS[number], to_table(reserved_schema(reserved), group)
