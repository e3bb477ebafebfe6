"""Attributes of requests and items, as OpenTelemetry's conventions name them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ErrorType, ImageError
from pipeline.faces.conventions import (
    DURATION_BUCKETS_S,
    TOKEN_BUCKETS,
    all_input,
    common_attributes,
    item_ended,
    item_named,
    request_attributes,
    request_ended,
    request_metric,
)
from pipeline.records import Attempt, Item, Mode, Outcome, Usage
from pipeline.settings import Config

ATTEMPT = Attempt("a", 1, 2, datetime(2026, 11, 24, tzinfo=UTC), 12.5)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "A secret caption."}],
    "stop_reason": "max_tokens",
    "usage": {"input_tokens": 5, "output_tokens": 7},
}


def config(**api: Any) -> Config:
    """A configuration with these keys of `api`."""
    tree = {
        "manifest": {"path": "x.csv"},
        "api": {"model": "claude-haiku-4-5", "max_tokens": 300, **api},
        "prompt": {"user": "Describe."},
        "output": {"path": "out"},
    }
    return Config.model_validate(tree)


@pytest.mark.parametrize(
    ("api", "place"),
    [
        ({}, ("api.anthropic.com", 443)),
        ({"base_url": "http://[::1]:8080"}, ("::1", 8080)),
        ({"base_url": "https://user:secret@host.example/path"}, ("host.example", 443)),
        ({"base_url": "embedded"}, (None, None)),
        ({"endpoints": [{"base_url": "https://a.example"}, {"base_url": "https://b.example"}]}, (None, None)),
        ({"endpoints": [{"base_url": "https://a.example", "api_key_env": name} for name in "KL"]}, ("a.example", 443)),
    ],
    ids=str,
)
def test_the_server_is_named_where_there_is_one(api: dict[str, Any], place: tuple[str | None, int | None]) -> None:
    """Host and port alone; several servers have no one name."""
    found = common_attributes(config(**api))
    assert (found.get("server.address"), found.get("server.port")) == place
    assert "secret" not in str(found)
    assert found["gen_ai.provider.name"] == "anthropic"


def test_parameters_are_told_where_they_are_set() -> None:
    """And no other key of the configuration is."""
    found = request_attributes(config(temperature=0.0, top_k=5, stop_sequences=["secret"]))
    assert found == {
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_k": 5,
    }


def test_an_answer_tells_of_itself_but_not_what_it_says() -> None:
    """Id, model and reason come from the body, tokens and dollars from the record."""
    usage = Usage(input_tokens=5, output_tokens=7, cache_creation_input_tokens=11, cache_read_input_tokens=13)
    answered = replace(
        ATTEMPT, http_status=200, request_id="req_1", usage=usage, cost_usd=0.5, answer=json.dumps(MESSAGE).encode()
    )
    found = request_ended(answered)
    assert found["gen_ai.response.finish_reasons"] == ["max_tokens"]
    assert (found["gen_ai.response.id"], found["gen_ai.response.model"]) == ("msg_1", "claude-haiku-4-5-20251001")
    assert found["gen_ai.usage.input_tokens"] == all_input(answered) == 29
    assert found["gen_ai.usage.cache_read.input_tokens"] == 13
    assert found["gen_ai.usage.cache_creation.input_tokens"] == 11
    assert found["pipeline.cost_usd"] == 0.5
    assert "secret" not in str(found)
    assert request_metric(found) == {"gen_ai.response.model": "claude-haiku-4-5-20251001"}


@given(st.binary(max_size=200))
def test_an_answer_that_cannot_be_read_tells_nothing_of_itself(raw: bytes) -> None:
    """And ends nothing: the request is told all the same."""
    found = request_ended(replace(ATTEMPT, http_status=200, error_type="bad_response", answer=raw))
    assert found["error.type"] == "bad_response"
    assert "gen_ai.response.id" not in found


def test_a_request_without_an_answer_has_no_status() -> None:
    """What is not known is left out, not null."""
    found = request_ended(replace(ATTEMPT, error_type="timeout"))
    assert "http.response.status_code" not in found
    assert None not in found.values()
    assert request_metric(found) == {"error.type": "timeout"}


@pytest.mark.parametrize(
    ("outcome", "ended"),
    [
        (Outcome(Item("a", ())), "succeeded"),
        (Outcome(Item("a", ()), mode=Mode.REUSED), "reused"),
        (Outcome(Item("a", ()), error=ImageError(ErrorType.IMAGE_MISSING, "/home/secret.jpg")), "failed"),
    ],
)
def test_an_item_says_what_became_of_it(outcome: Outcome, ended: str) -> None:
    """By a word, and by the type of its error without its text."""
    found = item_ended(outcome)
    assert found["pipeline.outcome"] == ended
    assert ("error.type" in found) == (ended == "failed")
    assert "secret" not in str(found)


def test_an_id_that_is_a_url_loses_its_query() -> None:
    """Other ids are told as they are."""
    assert item_named("https://u:p@h.example/a?sig=1")["pipeline.item_id"] == "https://***@h.example/a?***"
    assert item_named("a?b#c")["pipeline.item_id"] == "a?b#c"


def test_buckets_are_the_conventions_own() -> None:
    """From a hundredth of a second to 82 s, from 1 token to 67 million."""
    assert (DURATION_BUCKETS_S[0], DURATION_BUCKETS_S[-1], len(DURATION_BUCKETS_S)) == (0.01, 81.92, 14)
    assert (TOKEN_BUCKETS[0], TOKEN_BUCKETS[-1], len(TOKEN_BUCKETS)) == (1, 67_108_864, 14)
