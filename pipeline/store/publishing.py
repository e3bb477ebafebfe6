"""From the journal's rows to a part in its place, and from a part back to one answer."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.parts import Stamp, folder, opened_part, write_part
from pipeline.store.pending import Reservation
from pipeline.store.rows import reserved_schema, to_table
from pipeline.store.schema import Kind

__all__ = ["ANSWER_COLUMNS", "publish_part", "publish_reserved", "read_answer"]

ANSWER_COLUMNS = ["caption", "replies", "stop_reason", "model", "message_id", "request_id", "warnings"]
_ROW_GROUP = 4096
"""Rows of a part that are in memory at a time; with thumbnails of 20 KB they are 80 MB, twice that while encoded."""

_Row = tuple[dict[str, Any], bytes | None, bytes | None]


def publish_part(settings: DatasetSettings, reservation: Reservation, rows: Iterable[_Row]) -> Stamp:
    """Writes one named part into its place, a row group in memory at a time; returns its stamp.

    Raises:
        OSError: it cannot be written; nothing is visible then.
    """
    schema = reserved_schema(reservation)
    path = folder(settings.output, reservation.kind) / reservation.name
    return write_part(path, schema, _row_groups(schema, iter(rows)), settings.compression)


def publish_reserved(settings: DatasetSettings, reservation: Reservation, journal: Path) -> Stamp:
    """The same, with a connection of its own, so that the writer of the journal is not kept waiting.

    Raises:
        OSError: it cannot be written; nothing is visible then.
        sqlite3.Error: the journal cannot be read.
    """
    reader = Journal(journal, read_only=True)
    try:
        return publish_part(settings, reservation, reader.pending.rows_of(reservation.name))
    finally:
        reader.close()


def read_answer(output: Place, part: str, item_id: str, fingerprint: str) -> dict[str, Any] | None:
    """The answer's columns of one row of `results`, `None` where it is not there any more, or cannot be read."""
    try:
        with opened_part(folder(output, Kind.RESULTS) / part) as file:
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, columns=["item_id", "fingerprint"])
                hits = pc.and_(pc.equal(keys["item_id"], item_id), pc.equal(keys["fingerprint"], fingerprint))
                if (at := pc.index(hits, True).as_py()) >= 0:
                    columns = [*ANSWER_COLUMNS, *(["data"] if "data" in file.schema_arrow.names else [])]
                    rows = file.read_row_group(group, columns=columns).slice(at, 1)
                    return dict(rows.to_pylist()[0])
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError):
        return None
    return None


def _row_groups(schema: pa.Schema, rows: Iterator[_Row]) -> Iterator[pa.Table]:
    while group := list(islice(rows, _ROW_GROUP)):
        yield to_table(schema, group)
