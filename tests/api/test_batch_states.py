"""What the service tells of batches, read defensively."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.api.batch_states import parse_json, parse_result, parse_state

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from(
    (
        *("id", "processing_status", "request_counts", "created_at", "ended_at", "expires_at", "archived_at"),
        *("results_url", "custom_id", "result", "type", "message", "error", "request_id", "succeeded", "errored"),
    )
)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from(["succeeded", "errored", "canceled", "expired", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)


@given(TREES)
@settings(deadline=None, max_examples=200)
def test_no_json_makes_a_reader_fail(value: Any) -> None:
    """Whatever the service says is a batch, a result, or none; counts are never negative."""
    state = parse_state(value)
    assert state is None or (state.batch_id and state.items >= 0 and all(count >= 0 for count in state.counts.values()))
    result = parse_result(json.dumps(value).encode())
    assert result is None or result.kind in ("succeeded", "errored", "canceled", "expired")


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_no_bytes_make_a_reader_fail(raw: bytes) -> None:
    """A line that is no JSON is none; nesting without end likewise."""
    assert parse_result(raw) is None or parse_json(raw) is not None
    assert parse_result(b"[" * 100_000) is None


@pytest.mark.parametrize("name", ["", "\ud800", "a\nb", "x" * 201, 7, None])
def test_names_that_can_be_no_names_are_none(name: Any) -> None:
    """What could stand in no URL and in no journal is not taken for a batch or a result."""
    assert parse_state({"id": name, "processing_status": "ended"}) is None
    assert parse_result(json.dumps({"custom_id": name, "result": {"type": "expired"}}).encode()) is None


def test_a_batch_is_read_whole() -> None:
    """Counts are summed, moments have a zone, and only `ended` is an end."""
    told = {
        "id": "msgbatch_1",
        "processing_status": "ended",
        "request_counts": {"processing": 0, "succeeded": 3, "errored": 1, "odd": "x", "worse": -1, "true": True},
        "created_at": "2026-01-02T03:04:05",
        "ended_at": "2026-01-02T03:04:06Z",
        "expires_at": "never",
        "results_url": "",
    }
    state = parse_state(told)
    assert state is not None
    assert (state.items, state.ended, state.results_url, state.expires_at) == (4, True, None, None)
    assert state.created_at is not None
    assert state.ended_at is not None
    assert (state.ended_at - state.created_at).total_seconds() == 1
    assert parse_state({**told, "processing_status": "canceling"}) is not None


def test_results_of_each_kind_are_told_apart() -> None:
    """An error keeps the service's own words, a success its message."""
    said = {"type": "error", "error": {"type": "overloaded_error", "message": "Later"}, "request_id": "req_1"}
    line = {"custom_id": "a", "result": {"type": "errored", "error": said}}
    errored = parse_result(json.dumps(line).encode())
    assert errored is not None
    assert (errored.error_type, errored.error_message, errored.request_id) == ("overloaded_error", "Later", "req_1")
    good = parse_result(b'{"custom_id": "a", "result": {"type": "succeeded", "message": {"id": "msg_1"}}}')
    assert good is not None
    assert json.loads(good.message) == {"id": "msg_1"}
    assert parse_result(b'{"custom_id": "a", "result": {"type": "vanished"}}') is None
