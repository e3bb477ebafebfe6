"""From records to rows and tables."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import MOMENT

from pipeline.errors import ItemError
from pipeline.manifest.extras import ArrowExtras
from pipeline.records import Attempt, ImageRecord, Item, Mode, Outcome, Usage
from pipeline.store.identity import RunIdentity
from pipeline.store.pending import PendingRow, Reservation
from pipeline.store.rows import attempt_row, micros, outcome_row, reserved_schema, to_table
from pipeline.store.schema import Kind

RUN = RunIdentity("run-1", "f1")
USAGE = Usage(1, 2, 3, 4, 5)


def table_of(*rows: PendingRow) -> pa.Table:
    """The rows as one part would hold them, after their time in the journal."""
    first = rows[0]
    thumbnails = any(row.thumbnail for row in rows)
    reservation = Reservation("a", first.kind, len(rows), first.manifest_schema, first.data_schema, thumbnails)
    kept = [(json.loads(json.dumps(row.body)), row.extras, row.thumbnail) for row in rows]
    return to_table(reserved_schema(reservation), kept)


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=5)))))
@settings(deadline=None, max_examples=30)
def test_times_are_exact_to_the_microsecond(moment: datetime) -> None:
    """In any zone, before 1970 too."""
    column = pa.array([micros(moment)], pa.timestamp("us", tz="UTC"))
    assert column[0].as_py() == moment


def test_an_answer_becomes_a_row_of_results() -> None:
    """Every column says what the outcome said."""
    image = ImageRecord("a.jpg", "00ff", "image/jpeg", 40, 30, 999, "11ee", "image/webp", 20, 15, 99, ("shrunk",))
    outcome = Outcome(
        Item("a", ()),
        (image,),
        caption="two",
        replies=("one", "two"),
        stop_reason="end_turn",
        model="m",
        message_id="msg",
        request_id="req",
        mode=Mode.BATCHES,
        usage=USAGE,
        cost_usd=0.25,
        attempts=3,
        latency_ms=12.5,
        warnings=("late",),
    )
    (row,) = table_of(outcome_row(outcome, RUN, MOMENT)).to_pylist()
    assert row == {
        "item_id": "a",
        "fingerprint": "f1",
        "run_id": "run-1",
        "caption": "two",
        "replies": ["one", "two"],
        "stop_reason": "end_turn",
        "model": "m",
        "message_id": "msg",
        "request_id": "req",
        "mode": "batches",
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 4,
        "cost_usd": 0.25,
        "attempts": 3,
        "latency_ms": 12.5,
        "created_at": MOMENT,
        "images": [
            {
                "source": "a.jpg",
                "sha256": "00ff",
                "media_type": "image/jpeg",
                "width": 40,
                "height": 30,
                "bytes": 999,
                "sent_sha256": "11ee",
                "sent_media_type": "image/webp",
                "sent_width": 20,
                "sent_height": 15,
                "sent_bytes": 99,
                "warnings": ["shrunk"],
            }
        ],
        "warnings": ["late"],
    }


def test_an_error_becomes_a_row_of_failures() -> None:
    """With what the service said and what it cost, and without the columns of an answer."""
    error = ItemError("api_error", "it broke", retryable=True, http_status=500, request_id="req")
    outcome = Outcome(Item("a", ()), error=error, usage=USAGE, cost_usd=0.5, attempts=8, thumbnail=b"webp")
    row = outcome_row(outcome, RUN, MOMENT, reuse=b"key")
    assert (row.kind, row.reuse, row.thumbnail) == (Kind.FAILURES, None, None)
    (columns,) = table_of(row).to_pylist()
    assert columns == {
        "item_id": "a",
        "fingerprint": "f1",
        "run_id": "run-1",
        "retryable": True,
        "error_type": "api_error",
        "error_message": "it broke",
        "http_status": 500,
        "request_id": "req",
        "attempts": 8,
        "created_at": MOMENT,
        "images": [],
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 4,
        "cost_usd": 0.5,
    }


def test_a_request_without_an_answer_has_null_tokens() -> None:
    """What was not answered says nothing of tokens or cost; what was answered for nothing says 0."""
    silent = Attempt("a", 2, 3, MOMENT, 7.5, error_type="timeout")
    free = Attempt("a", 2, 4, MOMENT, 8.5, 200, usage=Usage(), cost_usd=0.0, service_tier="standard", batch_id="b")
    one, two = table_of(attempt_row(silent, RUN), attempt_row(free, RUN)).to_pylist()
    assert (one["turn"], one["attempt"], one["started_at"], one["duration_ms"]) == (2, 3, MOMENT, 7.5)
    assert (one["http_status"], one["error_type"], one["mode"]) == (None, "timeout", "messages")
    assert [one["input_tokens"], one["cache_read_input_tokens"], one["cost_usd"]] == [None, None, None]
    assert (two["http_status"], two["service_tier"], two["batch_id"]) == (200, "standard", "b")
    assert [two["input_tokens"], two["cache_read_input_tokens"], two["cost_usd"]] == [0, 0, 0.0]


def test_the_manifests_columns_come_out_in_their_own_types() -> None:
    """Decimals, times, nested lists and nulls pass through unread."""
    schema = pa.schema(
        [("price", pa.decimal128(9, 2)), ("day", pa.date32()), ("tags", pa.list_(pa.string())), ("n", pa.int8())]
    )
    batch = pa.RecordBatch.from_pylist(
        [{"price": None, "day": MOMENT.date(), "tags": ["x", None], "n": 7}, {"price": None, "day": None, "tags": []}],
        schema,
    )
    rows = [outcome_row(Outcome(Item(f"i{at}", (), extras=ArrowExtras(batch, at))), RUN, MOMENT) for at in range(2)]
    table = table_of(*rows)
    assert table.schema.field("manifest").type == pa.struct(list(schema))
    assert table["manifest"].to_pylist() == batch.to_pylist()


def test_thumbnails_and_data_have_columns_where_a_row_has_them() -> None:
    """A row without one is null among those that have."""
    run = RunIdentity("run-1", "f1", '{"properties":{"n":{"type":"integer"}}}')
    rows = [
        outcome_row(Outcome(Item(item_id, ()), data=data, thumbnail=thumbnail), run, MOMENT)
        for item_id, data, thumbnail in (("a", {"n": 1}, b"webp"), ("b", {"n": "wrong"}, None), ("c", None, None))
    ]
    table = table_of(*rows)
    assert table["data"].to_pylist() == [{"n": 1}, {"n": None}, None]
    assert table["thumbnail"].to_pylist() == [b"webp", None, None]


@pytest.mark.parametrize("text", ["\udc80", "a\ud800b"])
def test_lone_surrogates_are_written_out(text: str) -> None:
    """A file's name or a server's JSON may hold what no file can: every text column survives it."""
    error = ItemError(text, text, request_id=text)
    image = ImageRecord(text, warnings=(text,))
    answer = Outcome(
        Item(text, ()), (image,), caption=text, replies=(text,), model=text, message_id=text, data={text: 1}
    )
    escaped = text.encode("utf-8", "backslashreplace").decode()
    (row,) = table_of(outcome_row(answer, RUN, MOMENT)).to_pylist()
    assert [row["item_id"], row["caption"], row["replies"], row["model"]] == [escaped, escaped, [escaped], escaped]
    assert [row["images"][0]["source"], row["images"][0]["warnings"]] == [escaped, [escaped]]
    (row,) = table_of(outcome_row(Outcome(Item(text, ()), error=error), RUN, MOMENT)).to_pylist()
    assert [row["error_type"], row["error_message"], row["request_id"]] == [escaped] * 3
    (row,) = table_of(attempt_row(Attempt(text, 1, 1, MOMENT, 1.0, service_tier=text), RUN)).to_pylist()
    assert [row["item_id"], row["service_tier"]] == [escaped, escaped]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"usage": Usage(10**30)}, "input_tokens"),
        ({"attempts": 2**40}, "attempts"),
        ({"model": 12}, "model"),
        ({"latency_ms": "slow"}, "latency_ms"),
    ],
)
def test_a_value_that_its_column_cannot_hold_keeps_no_part_from_being_written(
    columns: dict[str, Any], name: str
) -> None:
    """A server's nonsense costs that value, and the row beside it stays as it is."""
    rows = [Outcome(Item("a", ()), **columns), Outcome(Item("b", ()), model="m", usage=USAGE, attempts=1)]
    one, two = table_of(*(outcome_row(row, RUN, MOMENT) for row in rows)).to_pylist()
    assert one[name] in (None, "12")
    assert (one["item_id"], two["item_id"], two["model"], two["input_tokens"]) == ("a", "b", "m", 1)


def test_the_epoch_is_that_of_utc() -> None:
    """Microseconds count from 1970 in UTC, whatever the machine's zone."""
    assert micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000
