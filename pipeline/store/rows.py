"""From records to rows, and from rows to Arrow tables. No I/O.

A row waits in the journal as plain JSON values, so times are integers of microseconds since the epoch; the manifest's
other columns wait as Arrow messages, so that their types come out as they went in.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.errors import ItemError
from pipeline.records import Attempt, ImageRecord, Outcome, Usage
from pipeline.store.identity import RunIdentity
from pipeline.store.keys import clean
from pipeline.store.pending import PendingRow, Reservation
from pipeline.store.schema import Kind, part_schema
from pipeline.store.struct_type import fit, struct_type

__all__ = ["TOKEN_COLUMNS", "attempt_row", "micros", "outcome_row", "reserved_schema", "to_table"]

TOKEN_COLUMNS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_IMAGE_COLUMNS = tuple(column.name for column in fields(ImageRecord))
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def attempt_row(attempt: Attempt, run: RunIdentity) -> PendingRow:
    """A row of `requests`."""
    body, text = _storable(_attempt(attempt, run))
    return PendingRow(Kind.REQUESTS, body, text=text)


def _attempt(attempt: Attempt, run: RunIdentity) -> dict[str, Any]:
    return {
        "item_id": attempt.item_id,
        "fingerprint": run.fingerprint,
        "run_id": run.run_id,
        "turn": attempt.turn,
        "attempt": attempt.attempt,
        "started_at": micros(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "http_status": attempt.http_status,
        "error_type": attempt.error_type,
        "request_id": attempt.request_id,
        "mode": attempt.mode.value,
        "batch_id": attempt.batch_id,
        **(_tokens(attempt.usage) if attempt.usage else dict.fromkeys(TOKEN_COLUMNS)),
        "service_tier": attempt.service_tier,
        "cost_usd": attempt.cost_usd,
    }


def outcome_row(outcome: Outcome, run: RunIdentity, created_at: datetime, *, reuse: bytes | None = None) -> PendingRow:
    """A row of `results`, or of `failures` where the outcome has an error."""
    item = outcome.item
    body: dict[str, Any] = {
        "item_id": item.item_id,
        "fingerprint": run.fingerprint,
        "run_id": run.run_id,
        **(_failure(outcome.error) if outcome.error else _success(outcome)),
        **_tokens(outcome.usage),
        "cost_usd": outcome.cost_usd,
        "attempts": outcome.attempts,
        "created_at": micros(created_at),
        "images": [_image(record) for record in outcome.images],
    }
    body, text = _storable(body)
    return PendingRow(
        Kind.FAILURES if outcome.error else Kind.RESULTS,
        body,
        manifest_schema=item.extras.schema_ipc() if item.extras else None,
        extras=item.extras.row_ipc() if item.extras else None,
        data_schema=None if outcome.error else run.data_schema,
        thumbnail=None if outcome.error else outcome.thumbnail,
        reuse=None if outcome.error else reuse,
        text=text,
    )


def reserved_schema(reservation: Reservation) -> pa.Schema:
    """The schema of a part that was named."""
    manifest = reservation.manifest_schema
    data = reservation.data_schema
    return part_schema(
        reservation.kind,
        manifest=pa.struct(list(pa.ipc.read_schema(pa.py_buffer(manifest)))) if manifest else None,
        data=struct_type(json.loads(data)) if data else None,
        thumbnail=reservation.thumbnails,
    )


def to_table(schema: pa.Schema, rows: Iterable[tuple[dict[str, Any], bytes | None, bytes | None]]) -> pa.Table:
    """Rows of one part as a table, in the order given.

    Args:
        schema: of the part.
        rows: columns as plain values, the manifest's message, the thumbnail.
    """
    bodies, extras, thumbnails = [], [], []
    for body, extra, thumbnail in rows:
        bodies.append(body)
        extras.append(extra)
        thumbnails.append(thumbnail)
    columns = []
    for column in schema:
        if column.name == "manifest":
            columns.append(_manifest_column(column.type, extras))
        elif column.name == "thumbnail":
            columns.append(pa.array(thumbnails, pa.binary()))
        else:
            columns.append(_column([body.get(column.name) for body in bodies], column))
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], column: pa.Field) -> pa.Array:
    """The values as their column; one that the column cannot hold becomes null, so that it blocks no part."""
    if column.name == "data":
        return pa.array([fit(value, column.type) for value in values], column.type)
    try:
        return pa.array(values, column.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([fit(value, column.type) for value in values], column.type)


def _manifest_column(struct: pa.StructType, messages: list[bytes | None]) -> pa.Array:
    schema = pa.schema(list(struct))
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in messages if message is not None]
    return pa.Table.from_batches(batches, schema).to_struct_array().combine_chunks()


def _storable(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The columns without lone surrogates, which a server's JSON and a file's name may hold; and their JSON."""
    text = _JSON.encode(body)
    try:
        text.encode()
    except UnicodeEncodeError:
        body = {name: _cleaned(value) for name, value in body.items()}
        text = _JSON.encode(body)
    return body, text


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(element) for element in value]
    if isinstance(value, dict):
        return {clean(str(name)): _cleaned(element) for name, element in value.items()}
    return value


def _success(outcome: Outcome) -> dict[str, Any]:
    return {
        "caption": outcome.caption,
        "replies": list(outcome.replies),
        "data": outcome.data,
        "stop_reason": outcome.stop_reason,
        "model": outcome.model,
        "message_id": outcome.message_id,
        "request_id": outcome.request_id,
        "mode": outcome.mode.value,
        "latency_ms": outcome.latency_ms,
        "warnings": list(outcome.warnings),
    }


def _failure(error: ItemError) -> dict[str, Any]:
    return {
        "retryable": error.retryable,
        "error_type": error.error_type,
        "error_message": str(error),
        "http_status": error.http_status,
        "request_id": error.request_id,
    }


def _tokens(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in TOKEN_COLUMNS}


def _image(record: ImageRecord) -> dict[str, Any]:
    return {**{name: getattr(record, name) for name in _IMAGE_COLUMNS}, "warnings": list(record.warnings)}
