"""The columns of the dataset, as the contract with its readers states them.

Owns the Arrow schemas of `results`, `failures` and `requests`; two columns depend on the run and are added here
when rows have them: `manifest` (the manifest's other columns, in their own types) and `data` (the type derived
from `prompt.schema`). Counts are int64, `http_status`, `attempts`, `turn` and `attempt` int32, times
`timestamp[us, UTC]`, durations milliseconds as double, money US dollars as double.
"""

from enum import StrEnum

import pyarrow as pa

__all__ = ["IMAGES", "OPTIONAL_COLUMNS", "TIMESTAMP", "Kind", "part_schema"]

TIMESTAMP = pa.timestamp("us", tz="UTC")
OPTIONAL_COLUMNS = ("data", "manifest", "thumbnail")
"""Columns that a part has only where its rows have something in them."""

IMAGES = pa.list_(
    pa.struct(
        [
            ("source", pa.string()),
            ("sha256", pa.string()),
            ("media_type", pa.string()),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("bytes", pa.int64()),
            ("sent_sha256", pa.string()),
            ("sent_media_type", pa.string()),
            ("sent_width", pa.int64()),
            ("sent_height", pa.int64()),
            ("sent_bytes", pa.int64()),
            ("warnings", pa.list_(pa.string())),
        ]
    )
)

_STRINGS = pa.list_(pa.string())
_TOKENS = [
    ("input_tokens", pa.int64()),
    ("output_tokens", pa.int64()),
    ("cache_creation_input_tokens", pa.int64()),
    ("cache_read_input_tokens", pa.int64()),
]
_HEAD = [("item_id", pa.string()), ("fingerprint", pa.string()), ("run_id", pa.string())]


class Kind(StrEnum):
    """The three tables; the value is the folder's name."""

    RESULTS = "results"
    FAILURES = "failures"
    REQUESTS = "requests"


_FIELDS = {
    Kind.RESULTS: [
        *_HEAD,
        ("caption", pa.string()),
        ("replies", _STRINGS),
        ("data", None),
        ("stop_reason", pa.string()),
        ("model", pa.string()),
        ("message_id", pa.string()),
        ("request_id", pa.string()),
        ("mode", pa.string()),
        *_TOKENS,
        ("cost_usd", pa.float64()),
        ("attempts", pa.int32()),
        ("latency_ms", pa.float64()),
        ("created_at", TIMESTAMP),
        ("images", IMAGES),
        ("warnings", _STRINGS),
        ("manifest", None),
        ("thumbnail", None),
    ],
    Kind.FAILURES: [
        *_HEAD,
        ("retryable", pa.bool_()),
        ("error_type", pa.string()),
        ("error_message", pa.string()),
        ("http_status", pa.int32()),
        ("request_id", pa.string()),
        ("attempts", pa.int32()),
        ("created_at", TIMESTAMP),
        ("images", IMAGES),
        ("manifest", None),
        *_TOKENS,
        ("cost_usd", pa.float64()),
    ],
    Kind.REQUESTS: [
        *_HEAD,
        ("turn", pa.int32()),
        ("attempt", pa.int32()),
        ("started_at", TIMESTAMP),
        ("duration_ms", pa.float64()),
        ("http_status", pa.int32()),
        ("error_type", pa.string()),
        ("request_id", pa.string()),
        ("mode", pa.string()),
        ("batch_id", pa.string()),
        *_TOKENS,
        ("service_tier", pa.string()),
        ("cost_usd", pa.float64()),
    ],
}


def part_schema(
    kind: Kind,
    *,
    manifest: pa.DataType | None = None,
    data: pa.DataType | None = None,
    thumbnail: bool = False,
) -> pa.Schema:
    """The schema of one part, columns in the contract's order.

    Args:
        kind: which table.
        manifest: the struct of the manifest's other columns; the column is absent without one.
        data: the struct derived from `prompt.schema`; absent without one.
        thumbnail: whether the rows carry thumbnails.
    """
    optional = {"manifest": manifest, "data": data, "thumbnail": pa.binary() if thumbnail else None}
    fields = [(name, kind_type if kind_type is not None else optional[name]) for name, kind_type in _FIELDS[kind]]
    return pa.schema([(name, arrow_type) for name, arrow_type in fields if arrow_type is not None])
