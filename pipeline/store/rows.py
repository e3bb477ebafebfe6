"""From records to rows, and from rows to Arrow tables. No I/O.

A row waits in the journal as plain JSON values, so times are integers of microseconds since the epoch; the manifest's
other columns wait as Arrow messages, so that their types come out as they went in.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.records import Attempt, ImageRecord, Outcome, Usage
from pipeline.store.journal import PendingRow, Reservation
from pipeline.store.schema import Kind, part_schema
from pipeline.store.struct_type import struct_type

__all__ = ["TOKEN_COLUMNS", "attempt_body", "attempt_row", "micros", "outcome_row", "to_table"]

TOKEN_COLUMNS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def attempt_row(attempt: Attempt, fingerprint: str, run_id: str) -> PendingRow:
    """A row of `requests`."""
    return PendingRow(Kind.REQUESTS, attempt_body(attempt, fingerprint, run_id))


def attempt_body(attempt: Attempt, fingerprint: str, run_id: str) -> dict[str, Any]:
    """The columns of a row of `requests` as plain values."""
    return {
        "item_id": clean(attempt.item_id),
        "fingerprint": fingerprint,
        "run_id": run_id,
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


def outcome_row(
    outcome: Outcome,
    *,
    fingerprint: str,
    run_id: str,
    created_at: datetime,
    data_schema: str | None = None,
    reuse: bytes | None = None,
) -> PendingRow:
    """A row of `results`, or of `failures` where the outcome has an error."""
    item = outcome.item
    body: dict[str, Any] = {
        "item_id": clean(item.item_id),
        "fingerprint": fingerprint,
        "run_id": run_id,
        **(_failure(outcome) if outcome.error else _success(outcome)),
        **_tokens(outcome.usage),
        "cost_usd": outcome.cost_usd,
        "attempts": outcome.attempts,
        "created_at": micros(created_at),
        "images": [_image(record) for record in outcome.images],
    }
    return PendingRow(
        Kind.FAILURES if outcome.error else Kind.RESULTS,
        body,
        manifest_schema=item.extras.schema_ipc() if item.extras else None,
        extras=item.extras.row_ipc() if item.extras else None,
        data_schema=None if outcome.error else data_schema,
        thumbnail=outcome.thumbnail,
        reuse=None if outcome.error else reuse,
    )


def to_table(reservation: Reservation, rows: Iterable[tuple[dict[str, Any], bytes | None, bytes | None]]) -> pa.Table:
    """The table of one part, rows in the order given.

    Args:
        reservation: the part, with the schemas of its `manifest` and `data` columns.
        rows: columns as plain values, the manifest's message, the thumbnail.
    """
    bodies, extras, thumbnails = [], [], []
    for body, extra, thumbnail in rows:
        bodies.append(body)
        extras.append(extra)
        thumbnails.append(thumbnail)
    manifest = _manifest_column(reservation.manifest_schema, extras) if reservation.manifest_schema else None
    data = struct_type(json.loads(reservation.data_schema)) if reservation.data_schema else None
    schema = part_schema(
        reservation.kind,
        manifest=manifest.type if manifest is not None else None,
        data=data,
        thumbnail=any(thumbnail is not None for thumbnail in thumbnails),
    )
    columns = []
    for column in schema:
        if column.name == "manifest":
            columns.append(manifest)
        elif column.name == "thumbnail":
            columns.append(pa.array(thumbnails, pa.binary()))
        else:
            columns.append(pa.array([body.get(column.name) for body in bodies], column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def clean(text: str) -> str:
    """The text with what Parquet cannot hold (lone surrogates) written out as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _manifest_column(schema_ipc: bytes, messages: list[bytes | None]) -> pa.ChunkedArray:
    schema = pa.ipc.read_schema(pa.py_buffer(schema_ipc))
    batches = [pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in messages if message is not None]
    return pa.chunked_array([batch.to_struct_array() for batch in batches], pa.struct(list(schema)))


def _success(outcome: Outcome) -> dict[str, Any]:
    return {
        "caption": clean(outcome.caption),
        "replies": [clean(reply) for reply in outcome.replies],
        "data": outcome.data,
        "stop_reason": outcome.stop_reason,
        "model": outcome.model,
        "message_id": outcome.message_id,
        "request_id": outcome.request_id,
        "mode": outcome.mode.value,
        "latency_ms": outcome.latency_ms,
        "warnings": list(outcome.warnings),
    }


def _failure(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "retryable": error.retryable if error else False,
        "error_type": error.error_type if error else None,
        "error_message": clean(str(error)),
        "http_status": error.http_status if error else None,
        "request_id": error.request_id if error else None,
    }


def _tokens(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in TOKEN_COLUMNS}


def _image(record: ImageRecord) -> dict[str, Any]:
    plain = asdict(record)
    plain["source"] = clean(plain["source"])
    plain["warnings"] = list(record.warnings)
    return plain
