"""The columns, held against the contract's own words."""

import pyarrow as pa
import pytest

from pipeline.store.schema import OPTIONAL_COLUMNS, TIMESTAMP, Kind, part_schema

RESULTS = """item_id fingerprint run_id caption replies data stop_reason model message_id request_id mode input_tokens
output_tokens cache_creation_input_tokens cache_read_input_tokens cost_usd attempts latency_ms created_at images
warnings manifest thumbnail"""
FAILURES = """item_id fingerprint run_id retryable error_type error_message http_status request_id attempts created_at
images manifest input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens cost_usd"""
REQUESTS = """item_id fingerprint run_id turn attempt started_at duration_ms http_status error_type request_id mode
batch_id input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens service_tier cost_usd"""
IMAGE = """source sha256 media_type width height bytes sent_sha256 sent_media_type sent_width sent_height sent_bytes
warnings"""


@pytest.mark.parametrize(
    ("kind", "names"), [(Kind.RESULTS, RESULTS), (Kind.FAILURES, FAILURES), (Kind.REQUESTS, REQUESTS)]
)
def test_the_columns_are_those_of_the_contract(kind: Kind, names: str) -> None:
    """With everything that a run may add, and without what it did not ask for."""
    extra = pa.struct([("title", pa.string())])
    assert part_schema(kind, manifest=extra, data=extra, thumbnail=True).names == names.split()
    assert part_schema(kind).names == [name for name in names.split() if name not in OPTIONAL_COLUMNS]


def test_types_are_those_of_the_contract() -> None:
    """Counts int64; statuses, attempts and turns int32; money and durations double; times in microseconds, UTC."""
    types: dict[str, pa.DataType] = {}
    for kind in Kind:
        for field in part_schema(kind):
            assert types.setdefault(field.name, field.type) == field.type, field.name
    for name in ("attempts", "http_status", "turn", "attempt"):
        assert types[name] == pa.int32()
    for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        assert types[name] == pa.int64()
    for name in ("cost_usd", "latency_ms", "duration_ms"):
        assert types[name] == pa.float64()
    for name in ("created_at", "started_at"):
        assert types[name] == TIMESTAMP == pa.timestamp("us", tz="UTC")
    assert types["replies"] == types["warnings"] == pa.list_(pa.string())
    assert types["retryable"] == pa.bool_()


def test_images_carry_the_original_beside_what_was_sent() -> None:
    """A list of structs: sizes int64, warnings a list of text, the rest text."""
    images = part_schema(Kind.RESULTS).field("images").type.value_type
    assert [field.name for field in images] == IMAGE.split()
    for field in images:
        number = field.name.endswith(("width", "height", "bytes"))
        wanted = pa.int64() if number else pa.list_(pa.string()) if field.name == "warnings" else pa.string()
        assert field.type == wanted, field.name
