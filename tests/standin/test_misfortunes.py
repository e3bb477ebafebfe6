"""Scripted error answers and odd messages, as a client meets them on a real socket."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest
from support.asking import ask
from support.standins import answers

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
STATUSES = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_answered_once_and_costs_nothing(start_standin: StartStandin, status: int) -> None:
    """The struck request has the API's error body with its own id; the next one is answered."""
    server = start_standin(f"{status}:first=1")
    answer = ask(server)
    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert ask(server).status_code == 200
    assert [line["billed"] for line in answers(server.options.log)] == [False, True]


def test_headers_code_and_message_of_a_status_can_be_set(start_standin: StartStandin) -> None:
    """What a client decides by is scripted exactly."""
    server = start_standin("429:retry_after=7,code=ramp_limit_exceeded,message=Slow down, please,should_retry=false")
    answer = ask(server)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["details"] == {"error_code": "ramp_limit_exceeded"}
    assert answer.json()["error"]["message"] == "Slow down, please"


def test_a_wait_can_be_told_as_a_date(start_standin: StartStandin) -> None:
    """The date is so many seconds after the answer."""
    before = datetime.now(UTC)
    told = parsedate_to_datetime(ask(start_standin("503:retry_after_date=90")).headers["retry-after"])
    assert before + timedelta(seconds=89) <= told <= datetime.now(UTC) + timedelta(seconds=90)


def test_a_429_asks_for_a_retry_and_a_spending_stop_does_not_say_when(start_standin: StartStandin) -> None:
    """The two are told apart by the code and the missing `retry-after`."""
    assert ask(start_standin("429")).headers["x-should-retry"] == "true"
    stop = ask(start_standin("spend_stop"))
    assert stop.status_code == 429
    assert stop.json()["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert "retry-after" not in stop.headers


def test_the_edge_s_413_has_its_own_shape(start_standin: StartStandin) -> None:
    """No `type`, no `request_id` in the body."""
    answer = ask(start_standin("edge_413"))
    assert answer.status_code == 413
    assert set(answer.json()) == {"error"}


def test_a_redirect_names_another_host(start_standin: StartStandin) -> None:
    """Where it leads is scripted."""
    answer = ask(start_standin("redirect:to=http://127.0.0.1:9/elsewhere"))
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")


@pytest.mark.parametrize(
    ("fault", "content_type", "start"),
    [
        ("html", "text/html", b"<html>"),
        ("empty", "application/json", b""),
        ("garbled", "application/json", b'{"id"'),
        ("nested", "application/json", b"[[["),
    ],
)
def test_a_foreign_body_with_200_is_billed_and_with_an_error_status_is_not(
    start_standin: StartStandin, fault: str, content_type: str, start: bytes
) -> None:
    """Unreadable is not unpaid; a proxy's error page is."""
    server = start_standin(f"{fault}:at=1", f"{fault}:at=2,status=502")
    good, bad = ask(server), ask(server)
    assert (good.status_code, bad.status_code) == (200, 502)
    for answer in (good, bad):
        assert answer.headers["content-type"].startswith(content_type)
        assert answer.content.startswith(start)
        with pytest.raises((ValueError, RecursionError)):
            json.loads(answer.content)
    assert [(line["status"], line["billed"]) for line in answers(server.options.log)] == [(200, True), (502, False)]


def message(answer: httpx.Response) -> dict[str, object]:
    """A 200's message."""
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    return found


def test_wrong_types_and_impossible_numbers_are_json(start_standin: StartStandin) -> None:
    """They parse, and cannot be believed."""
    wrong = message(ask(start_standin("wrong_types")))
    assert isinstance(wrong["content"], str)
    assert isinstance(wrong["usage"], int)
    usage = message(ask(start_standin("huge_usage")))["usage"]
    assert isinstance(usage, dict)
    assert usage["input_tokens"] > 2**63
    assert usage["output_tokens"] < 0


def test_usage_text_and_known_blocks_can_be_missing(start_standin: StartStandin) -> None:
    """Each is a whole message that lacks one thing."""
    assert "usage" not in message(ask(start_standin("no_usage")))
    assert message(ask(start_standin("empty_text")))["content"] == []
    thought = message(ask(start_standin("thinking_only")))
    assert thought["stop_reason"] == "max_tokens"
    assert [block["type"] for block in thought["content"]] == ["thinking"]  # type: ignore[attr-defined]
    odd = message(ask(start_standin("unknown_block")))
    assert odd["stop_reason"] not in ("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal")
    assert [block["type"] for block in odd["content"]] == ["hologram", "text"]  # type: ignore[attr-defined]


def test_a_refusal_is_free_unless_it_came_in_the_middle(start_standin: StartStandin) -> None:
    """Empty content costs nothing, a text that was begun costs what it is; the log says what was sent."""
    server = start_standin("refusal:at=1", "refusal:at=2,text=I see")
    early, late = message(ask(server)), message(ask(server))
    assert (early["stop_reason"], early["content"]) == ("refusal", [])
    assert late["stop_details"] == {"type": "refusal", "category": "general_harms", "explanation": "scripted"}
    first, second = answers(server.options.log)
    assert (first["billed"], first["cost_usd"], first["caption"]) == (False, 0.0, "")
    assert (second["billed"], second["caption"], second["stop_reason"]) == (True, "I see", "refusal")
    assert second["cost_usd"] > 0
    assert server.service.counts["billed"] == 1
