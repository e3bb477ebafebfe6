"""Calls to the Message Batches API: who may, where results are, pages, limits, and scripted faults of each call."""

from typing import Any

import pytest
from support.asking import HEADERS
from support.batching import call, create, created, ended, lines_of

from pipeline.standin.faults import parse_fault

CALLS = [("POST", ""), ("GET", ""), ("GET", "/x"), ("DELETE", "/x"), ("POST", "/x/cancel"), ("GET", "/x/results")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_key_and_version_are_needed(start_standin: Any, method: str, path: str) -> None:
    """As everywhere."""
    server = start_standin(keys=frozenset({"right"}))
    assert call(server, method, path).status_code == 401
    assert call(server, method, path, headers={"x-api-key": "right"}).status_code == 400


@pytest.mark.parametrize(("method", "path"), CALLS[2:])
def test_an_unknown_batch_is_not_found(start_standin: Any, method: str, path: str) -> None:
    """In the API's shape."""
    answer = call(start_standin(), method, path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert answer.json()["request_id"] == answer.headers["request-id"]


def test_a_new_batch_is_told_whole(start_standin: Any) -> None:
    """Every field is there, those that have no value yet too."""
    server = start_standin(batch_hold=True)
    told = create(server).json()
    assert told["id"].startswith("msgbatch_")
    assert told["request_counts"] == {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    assert {name for name, value in told.items() if value is None} == {
        *("ended_at", "cancel_initiated_at", "archived_at", "results_url"),
    }
    assert call(server, "GET", f"/{told['id']}").json() == told


def test_results_are_on_the_host_that_was_asked(start_standin: Any) -> None:
    """An absolute address, by the name that the client used."""
    server = start_standin()
    batch_id = created(server)
    told = ended(server, batch_id)
    assert told["results_url"] == f"{server.url}/v1/messages/batches/{batch_id}/results"
    named = call(server, "GET", f"/{batch_id}", headers={**HEADERS, "host": "api.example:99"}).json()
    assert named["results_url"].startswith("http://api.example:99/v1/")


@pytest.mark.parametrize("place", ["get", "list"])
def test_results_may_be_told_to_be_elsewhere(start_standin: Any, place: str) -> None:
    """A client must not carry its key there."""
    server = start_standin()
    batch_id = created(server)
    ended(server, batch_id)
    server.service.faults = (parse_fault(f"{place}/elsewhere:to=http://127.0.0.2:9"),)
    answer = call(server, "GET", f"/{batch_id}" if place == "get" else "").json()
    told = answer if place == "get" else answer["data"][0]
    assert told["results_url"] == f"http://127.0.0.2:9/v1/messages/batches/{batch_id}/results"


def test_lists_page_newest_first(start_standin: Any) -> None:
    """After and before an id, with both ends and whether there is more."""
    server = start_standin(batch_hold=True)
    ids = [created(server) for _ in range(5)][::-1]
    first = call(server, "GET", "?limit=2").json()
    assert [each["id"] for each in first["data"]] == ids[:2]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[0], ids[1])
    rest = call(server, "GET", f"?after_id={ids[1]}").json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[2:], False)
    before = call(server, "GET", f"?before_id={ids[3]}&limit=2").json()
    assert ([each["id"] for each in before["data"]], before["has_more"]) == (ids[1:3], True)
    assert call(start_standin(), "GET").json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert call(server, "GET", "?limit=0").status_code == 400


def test_pages_may_be_smaller_than_asked_for(start_standin: Any) -> None:
    """And say that there is more."""
    server = start_standin("list/small_pages:most=2", batch_hold=True)
    ids = [created(server) for _ in range(3)][::-1]
    page = call(server, "GET", "?limit=100").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:2], True)


def test_calls_have_a_limit_of_their_own(start_standin: Any) -> None:
    """Creates and polls together, not with messages; every answer tells of it."""
    server = start_standin(batch_calls_per_minute=2, requests_per_minute=1000)
    answer = create(server)
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert not [name for name in answer.headers if "tokens" in name]
    assert call(server, "GET").status_code == 200
    refused = call(server, "GET")
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("place", "method", "path"),
    [("list", "GET", ""), ("get", "GET", "/{}"), ("cancel", "POST", "/{}/cancel"), ("delete", "DELETE", "/{}")],
)
def test_every_call_can_be_struck(start_standin: Any, place: str, method: str, path: str) -> None:
    """The work is not done then, and the log names the fault; without it the same call does."""
    server = start_standin(batch_hold=place == "cancel")
    batch_id = created(server)
    if place != "cancel":
        ended(server, batch_id)
    server.service.faults = (parse_fault(f"{place}/500"),)
    assert call(server, method, path.format(batch_id)).status_code == 500
    assert server.service.batches.get(batch_id).canceled is None
    server.service.faults = ()
    assert call(server, method, path.format(batch_id)).status_code == 200
    [line] = lines_of(server.options.log, "batch_call", fault=f"{place}/500")
    assert (line["status"], line["call"]) == (500, place)


def test_an_answer_may_be_lost_after_the_work(start_standin: Any) -> None:
    """The batch is canceled though the client was told that this failed."""
    server = start_standin("cancel/lost_answer:status=500", batch_hold=True)
    batch_id = created(server)
    assert call(server, "POST", f"/{batch_id}/cancel").status_code == 500
    assert ended(server, batch_id)["request_counts"]["canceled"] == 3


def test_every_call_is_in_the_log_without_its_key(start_standin: Any) -> None:
    """Which call, which batch, what it was answered."""
    server = start_standin()
    batch_id = created(server)
    ended(server, batch_id)
    call(server, "GET", f"/{batch_id}/results")
    call(server, "DELETE", f"/{batch_id}")
    call(server, "GET", "/none")
    lines = [line for line in lines_of(server.options.log, "batch_call") if line["call"] != "get"]
    assert [(line["call"], line["batch_id"], line["status"]) for line in lines] == [
        ("create", batch_id, 200),
        ("results", batch_id, 200),
        ("delete", batch_id, 200),
    ]
    assert lines_of(server.options.log, "batch_call", call="get", batch_id="none")[0]["status"] == 404
    assert HEADERS["x-api-key"] not in server.options.log.read_text("utf-8")


def test_a_refusal_may_quote_what_utf_8_cannot_hold(start_standin: Any) -> None:
    """Half a surrogate pair in a field's name is a 400 like others."""
    raw = b'{"requests": [{"custom_id": "a", "params": {}, "\\ud800": 1}]}'
    answer = call(start_standin(), "POST", content=raw, headers={**HEADERS, "content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "requests.0.\ud800: Extra inputs are not permitted"
