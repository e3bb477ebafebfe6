"""Routes: what is not there, wrong methods, and the stand-in's own resources."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.asking import HEADERS, ask

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/messages/", "/v1/complete", "/v1/models/a/b", "/v1/messages/batch"])
def test_an_unknown_path_is_not_found_in_the_api_s_shape(start_standin: StartStandin, path: str) -> None:
    """No HTML, no redirect to a path without its slash."""
    answer = httpx.get(f"{start_standin().url}{path}", headers=HEADERS)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
    assert answer.json()["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/messages", "POST"),
        ("DELETE", "/v1/messages", "POST"),
        ("HEAD", "/v1/messages", "POST"),
        ("GET", "/v1/messages/count_tokens", "POST"),
        ("POST", "/v1/models", "GET"),
    ],
)
def test_a_wrong_method_names_the_right_one(start_standin: StartStandin, method: str, path: str, allowed: str) -> None:
    """405 in the API's shape, with `allow`."""
    answer = httpx.request(method, f"{start_standin().url}{path}", headers=HEADERS)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    if method != "HEAD":
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_head_is_get_without_its_body(start_standin: StartStandin) -> None:
    """A probe of the models has their headers and no byte more."""
    url = f"{start_standin().url}/v1/models"
    head, get = httpx.head(url, headers=HEADERS), httpx.get(url, headers=HEADERS)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_faults_can_be_replaced_while_it_runs(start_standin: StartStandin) -> None:
    """Another process scripts an outage and ends it."""
    server = start_standin()
    url = f"{server.url}/_standin/faults"
    assert httpx.post(url, json=["529", "reset:at=99"]).json() == {"faults": ["529", "reset"]}
    assert ask(server).status_code == 529
    assert httpx.post(url, json=[]).status_code == 200
    assert ask(server).status_code == 200


@pytest.mark.parametrize("body", [b'["earthquake"]', b'"429"', b"[429]", b"{", b"\xff"])
def test_bad_faults_change_nothing(start_standin: StartStandin, body: bytes) -> None:
    """A mistake is a 400 that says what is wrong, and the faults in force stay."""
    server = start_standin("503")
    answer = httpx.post(f"{server.url}/_standin/faults", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert ask(server).status_code == 503


def test_counts_can_be_read_from_outside(start_standin: StartStandin) -> None:
    """The statistics are those of messages alone."""
    server = start_standin()
    ask(server)
    stats = httpx.get(f"{server.url}/_standin/stats").json()
    assert (stats["requests"], stats["answered"]) == (1, 1)


def test_an_answer_that_cannot_be_recorded_is_not_given(start_standin: StartStandin) -> None:
    """When the log's disk is full, the answer is a 500 that names the reason."""
    answer = ask(start_standin(log=Path("/dev/full")))
    assert answer.status_code == 500
    assert "the stand-in failed: OSError" in answer.json()["error"]["message"]
