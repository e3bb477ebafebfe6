"""Keys, versions, encodings and sizes, over a real socket."""

import gzip
import json
import socket
from collections.abc import Callable

import httpx
import pytest
from support.asking import HEADERS, ask, message_body

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "sk-good"}, 200),
        ({"authorization": "Bearer sk-good"}, 200),
        ({"authorization": "bearer sk-good"}, 200),
        ({"authorization": "Basic sk-good"}, 401),
        ({"x-api-key": "sk-bad"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({}, 401),
    ],
)
def test_a_key_is_taken_in_either_header(start_standin: StartStandin, headers: dict[str, str], status: int) -> None:
    """Both ways of giving it work, and any other is refused."""
    answer = ask(start_standin(keys=frozenset({"sk-good"})), headers={**VERSION, **headers})
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["x-should-retry"] == "false"
        assert "anthropic-workspace-id" not in answer.headers


def test_without_a_list_any_key_will_do(start_standin: StartStandin) -> None:
    """A stand-in for tests takes what it gets, but not nothing."""
    server = start_standin()
    assert ask(server, headers={**VERSION, "x-api-key": "anything"}).status_code == 200
    assert ask(server, headers=VERSION).status_code == 401


@pytest.mark.parametrize(
    ("version", "status"), [("2023-06-01", 200), ("2026-10-21", 200), ("2023-01-01", 400), (None, 400)]
)
def test_a_version_is_needed(start_standin: StartStandin, version: str | None, status: int) -> None:
    """The two that are served pass; none, or another, is a 400 that names the header."""
    headers = {"x-api-key": "k"} | ({"anthropic-version": version} if version else {})
    answer = ask(start_standin(), headers=headers)
    assert answer.status_code == status
    assert status == 200 or "anthropic-version" in answer.json()["error"]["message"]


def test_a_body_over_the_limit_is_refused_by_the_edge_before_anything_else(start_standin: StartStandin) -> None:
    """Announced too long: 413 in the edge's shape at once, even without a key and before a byte of the body came."""
    server = start_standin()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as carrier:
        carrier.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 33554433\r\n\r\n")
        found = b""
        while not found.endswith(b"}}"):
            found += carrier.recv(65_536)
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"request-id: req_" in head
    assert json.loads(body) == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}


def test_a_body_of_unknown_length_is_bounded_too(start_standin: StartStandin) -> None:
    """A chunked body is cut off once it is too long."""
    server = start_standin()
    pieces = (b" " * 1_000_000 for _ in range(34))
    headers = {**HEADERS, "content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/messages", content=pieces, headers=headers, timeout=20)
    assert answer.status_code == 413


def test_only_plain_json_is_taken(start_standin: StartStandin) -> None:
    """A compressed body and another content type are each a 400 that names the header."""
    server = start_standin()
    raw = json.dumps(message_body()).encode()
    url = f"{server.url}/v1/messages"
    json_type = {**HEADERS, "content-type": "application/json; charset=utf-8"}
    assert httpx.post(url, content=raw, headers=json_type).status_code == 200
    zipped = httpx.post(url, content=gzip.compress(raw), headers={**json_type, "content-encoding": "gzip"})
    assert zipped.status_code == 400
    assert zipped.json()["error"]["details"]["error_code"] == "request_body_encoding_unsupported"
    plain = httpx.post(url, content=raw, headers={**HEADERS, "content-type": "text/plain"})
    assert plain.status_code == 400
    assert "content-type" in plain.json()["error"]["message"]
