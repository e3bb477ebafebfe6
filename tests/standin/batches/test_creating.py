"""Create calls: streamed, bounded, logged before they are answered, and torn ones that leave nothing."""

import json
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from support.asking import HEADERS
from support.batching import call, create, created, item, lines_of, read_results
from support.standins import read_log

JSON = {**HEADERS, "content-type": "application/json"}


def pieces(count: int, size: int) -> Iterator[bytes]:
    """A body of so many requests of so many bytes each, a request at a time."""
    text = "x" * size
    for number in range(count):
        yield b'{"requests": [' if number == 0 else b", "
        yield json.dumps(item(f"i-{number}", text)).encode()
    yield b"]}"


def peak_kb() -> int:
    """The most memory that this process has had, in KiB."""
    [line] = [line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def test_a_large_batch_is_never_in_memory(start_standin: Any) -> None:
    """Forty megabytes in requests of 200 KB cost less than a quarter of that, sender included."""
    server = start_standin(batch_hold=True)
    created(server)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak counts from here
    before = peak_kb()
    answer = call(server, "POST", content=pieces(200, 200_000), headers=JSON)
    assert answer.json()["request_counts"]["processing"] == 200
    assert peak_kb() - before < 10_000


def test_what_was_created_is_in_the_log_with_every_request(start_standin: Any) -> None:
    """Names, hashes of the params whatever their order, and sizes; then the batch itself."""
    server = start_standin(batch_hold=True)
    first, second = item("a"), item("b", max_tokens=9)
    turned = {"params": dict(reversed(first["params"].items())), "custom_id": "c"}
    answer = create(server, first, second, turned)
    batch_id = answer.json()["id"]
    lines = lines_of(server.options.log, "batch_request", batch_id=batch_id)
    assert [(line["index"], line["custom_id"]) for line in lines] == [(0, "a"), (1, "b"), (2, "c")]
    assert lines[0]["params_sha256"] == lines[2]["params_sha256"] != lines[1]["params_sha256"]
    assert lines[0]["params_sha256"] == sha256(json.dumps(first["params"], sort_keys=True).encode()).hexdigest()
    [whole] = lines_of(server.options.log, "batch_created")
    assert (whole["batch_id"], whole["items"], whole["request_id"]) == (batch_id, 3, answer.headers["request-id"])
    assert whole["bytes"] == len(json.dumps({"requests": [first, second, turned]}, separators=(",", ":")).encode())
    assert [line["event"] for line in read_log(server.options.log)][-2:] == ["batch_created", "batch_call"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_the_edge_s_413(start_standin: Any, announced: bool) -> None:
    """By its announced length, or when so much has come."""
    server = start_standin(batch_bytes=1000)
    raw = b"".join(pieces(2, 600))
    answer = call(server, "POST", content=raw if announced else iter([raw]), headers=JSON)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert server.service.batches.counts["created"] == 0
    created(server, item("a"))


def test_a_batch_has_a_most_of_requests(start_standin: Any) -> None:
    """100,000 as it is; fewer for tests."""
    server = start_standin(batch_most=3)
    assert server.options.__class__().batch_most == 100_000
    assert create(server).status_code == 200
    refused = create(server, *(item(f"i{n}") for n in range(4)))
    assert (refused.status_code, "at most 3" in refused.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"requests": [item("a"), item("a")]}},
        {"json": {"requests": [item("a b")]}},
        {"json": {"requests": []}},
        {"json": {}},
        {"content": b"", "headers": JSON},
        {"content": b'{"requests": [', "headers": JSON},
        {"content": b"x" * 3_000_000, "headers": JSON},
        {"content": b'{"requests": []}', "headers": {**HEADERS, "content-type": "text/plain"}},
        {"content": b'{"requests": []}', "headers": {**JSON, "content-encoding": "gzip"}},
    ],
)
def test_a_wrong_body_is_a_400_and_no_batch(start_standin: Any, options: Any) -> None:
    """Also where it went wrong long before its end: the client is heard out, so that it hears the answer."""
    server = start_standin()
    answer = call(server, "POST", **options)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert server.service.batches.counts["created"] == 0
    [line] = lines_of(server.options.log, "batch_call")
    assert (line["status"], line["batch_id"]) == (400, None)


def test_a_sender_that_dies_leaves_no_batch(start_standin: Any) -> None:
    """A body that does not come to its end was never sent; the next one is taken."""
    server = start_standin()
    host, port = server.url.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in {**JSON, "content-length": "5000"}.items())
    with socket.create_connection((host, int(port)), timeout=20) as carrier:
        carrier.sendall(f"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode() + b'{"requests": [')
    until = monotonic() + 10
    while not lines_of(server.options.log, "batch_call") and monotonic() < until:
        httpx.get(f"{server.url}/_standin/stats", verify=False)
    [line] = lines_of(server.options.log, "batch_call")
    assert (line["status"], line["batch_id"]) == (499, None)
    assert call(server, "GET").json()["data"] == []
    created(server)


@pytest.mark.parametrize("fault", ["lost_answer", "lost_answer:status=500", "lost_answer:status=529", "truncated"])
def test_an_orphan_is_created_though_its_answer_is_lost(start_standin: Any, fault: str) -> None:
    """It is found by listing, works as any other, and the log knows of it."""
    server = start_standin(f"create/{fault}" + (",at=1" if ":" in fault else ":at=1"))
    try:
        assert create(server).status_code in (500, 529)
    except httpx.TransportError:
        assert "status" not in fault
    [batch] = call(server, "GET").json()["data"]
    assert len(read_results(server, batch["id"])) == 3
    assert len(lines_of(server.options.log, "batch_created", batch_id=batch["id"])) == 1
    assert create(server).status_code == 200


@pytest.mark.parametrize("fault", ["500", "529", "429:retry_after=1", "reset", "close", "html:status=502"])
def test_a_refused_create_leaves_nothing(start_standin: Any, fault: str) -> None:
    """The same from outside, and no batch."""
    server = start_standin(f"create/{fault}" + (",at=1" if ":" in fault else ":at=1"))
    try:
        assert create(server).status_code >= 429
    except httpx.TransportError:
        assert fault in ("reset", "close")
    assert call(server, "GET").json()["data"] == []
    assert create(server).status_code == 200


def test_a_late_answer_is_that_of_a_batch_that_is_there_already(start_standin: Any) -> None:
    """Whoever gives up waiting leaves an orphan."""
    server = start_standin("create/slow:seconds=30,at=1")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/messages/batches", json={"requests": [item("a")]}, headers=HEADERS, timeout=0.3)
    [batch] = call(server, "GET").json()["data"]
    assert list(read_results(server, batch["id"])) == ["a"]
