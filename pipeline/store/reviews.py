"""What reviewers decided about captions: `reviews/part-*.parquet`, written beside the answers and never into them.

A row says who decided what, and when; of the rows about one answer the newest counts, and `cleared` takes the earlier
ones back. An answer is known by `(item_id, fingerprint)`, so a compaction or a run in parallel changes nothing here:
this folder has one kind of writer, and nobody else touches it.

A writer keeps one part of its own, which it writes anew with every decision until it is full: atomically, so that a
decision is in it whole once `add` returns, and a thousand decisions are a handful of files.
"""

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa

from pipeline.store.buckets import Place
from pipeline.store.keys import clean
from pipeline.store.parts import listed, opened_part, write_part
from pipeline.store.schema import TIMESTAMP
from pipeline.store.struct_type import fit

__all__ = [
    "REVIEW_SCHEMA",
    "Review",
    "ReviewWriter",
    "Reviews",
    "Verdict",
    "apply_reviews",
    "newest_reviews",
    "reviewed_rows",
]

logger = logging.getLogger(__name__)
_MOST_ROWS = 500

REVIEW_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("fingerprint", pa.string()),
        ("verdict", pa.string()),
        ("caption", pa.string()),
        ("reviewer", pa.string()),
        ("reviewed_at", TIMESTAMP),
    ]
)


class Verdict(StrEnum):
    """What a reviewer says of an answer."""

    ACCEPTED = "accepted"
    EDITED = "edited"
    REJECTED = "rejected"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Review:
    """One decision.

    Attributes:
        caption: what takes the caption's place, where the verdict is `edited`; else `None`.
        reviewed_at: in UTC.
    """

    item_id: str
    fingerprint: str
    verdict: Verdict
    reviewer: str
    reviewed_at: datetime
    caption: str | None = None


Reviews = Mapping[tuple[str, str], Review]
"""The newest review of each answer, by `(item_id, fingerprint)`."""


class ReviewWriter:
    """Writes decisions of one process; any thread may call it.

    Args:
        output: the dataset; its `reviews` folder is made with the first decision.
    """

    def __init__(self, output: Place) -> None:
        self._folder = output / "reviews"
        self._lock = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._path = self._new_path()

    def add(self, review: Review) -> None:
        """Writes a decision down; durable, and seen by every reader, when this returns.

        Raises:
            OSError: it cannot be written; nothing has changed then.
        """
        row = {name: getattr(review, name) for name in REVIEW_SCHEMA.names}
        row = {name: clean(value) if isinstance(value, str) else value for name, value in row.items()}
        with self._lock:
            rows = [*self._rows, row]
            write_part(self._path, REVIEW_SCHEMA, [pa.Table.from_pylist(rows, REVIEW_SCHEMA)], "zstd")
            self._rows = rows
            if len(rows) >= _MOST_ROWS:
                self._rows, self._path = [], self._new_path()

    def _new_path(self) -> Place:
        return self._folder / f"part-{datetime.now(UTC):%Y%m%dT%H%M%SZ-%f}-{secrets.token_hex(4)}.parquet"


def newest_reviews(output: Place) -> dict[tuple[str, str], Review]:
    """The reviews that count, none where there are none; a part that cannot be read is named and left out."""
    newest: dict[tuple[str, str], Review] = {}
    for path in listed(output / "reviews", "part-*.parquet"):
        for row in _rows(path):
            key = row["item_id"], row["fingerprint"]
            if key not in newest or row["reviewed_at"] >= newest[key].reviewed_at:
                newest[key] = Review(**{**row, "verdict": Verdict(row["verdict"])})
    return {key: review for key, review in newest.items() if review.verdict is not Verdict.CLEARED}


def apply_reviews(rows: pa.Table, reviews: Reviews) -> pa.Table:
    """Rows of `results` as reviewers left them: rejected ones are gone, edited captions stand for the answered ones.

    Where the rows have a `data` column, it is read anew from an edited caption, which is then JSON text; it is null
    where the edited text is none. `replies` stays what the model said.
    """
    if not reviews or not len(rows):
        return rows
    keys = zip(rows["item_id"].to_pylist(), rows["fingerprint"].to_pylist(), strict=True)
    found = [reviews.get(key) for key in keys]
    edits = {at: str(review.caption) for at, review in enumerate(found) if review and review.verdict is Verdict.EDITED}
    rows = _exchanged(rows, "caption", edits)
    if "data" in rows.column_names:
        kind = rows.schema.field("data").type
        rows = _exchanged(rows, "data", {at: _parsed(text, kind) for at, text in edits.items()})
    kept = [review is None or review.verdict is not Verdict.REJECTED for review in found]
    return rows if all(kept) else rows.filter(pa.array(kept, pa.bool_()))


def reviewed_rows(batch: pa.RecordBatch, reviews: Reviews) -> list[dict[str, Any]]:
    """Rows of `results` with Python values, as `apply_reviews` leaves them."""
    rows: list[dict[str, Any]] = apply_reviews(pa.Table.from_batches([batch]), reviews).to_pylist()
    return rows


def _exchanged(rows: pa.Table, name: str, values: Mapping[int, Any]) -> pa.Table:
    """The table with other values at these rows of one column, whatever its type."""
    if not values or name not in rows.column_names:
        return rows
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(at)
    places = list(range(len(rows)))
    for number, row in enumerate(values):
        places[row] = len(rows) + number
    new = pa.array(list(values.values()), field.type)
    joined = pa.chunked_array([*rows[name].chunks, new], field.type)
    return rows.set_column(at, field, joined.take(pa.array(places, pa.int64())))


def _parsed(text: str, kind: pa.DataType) -> Any:
    try:
        return fit(json.loads(text), kind)
    except ValueError:
        return None


def _rows(path: Place) -> list[dict[str, Any]]:
    try:
        with opened_part(path) as part:
            table = part.read(columns=REVIEW_SCHEMA.names).cast(REVIEW_SCHEMA)
        table.validate(full=True)
        rows: list[dict[str, Any]] = table.to_pylist()
        lacking = [
            row for row in rows if row["verdict"] not in set(Verdict) or None in (row["item_id"], row["reviewed_at"])
        ]
        if lacking:
            raise pa.ArrowInvalid(f"a row of it is no review: {lacking[0]}")
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        logger.warning("%s: left out, it cannot be read: %s", path, f"{error}".partition("\n")[0])
        return []
    return rows
