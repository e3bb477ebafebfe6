"""Broken connections, as the kernel tells them to a client."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.asking import HEADERS, ask, message_body, settled
from support.certificates import write_certificate
from support.standins import answers, read_log

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]


@contextmanager
def asking(server: StandinServer) -> Iterator[socket.socket]:
    """A connection over which a whole request was sent."""
    host, port = server.url.removeprefix("http://").split(":")
    raw = httpx.Request("POST", server.url, json=message_body(), headers=HEADERS)
    head = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
    with socket.create_connection((host, int(port)), timeout=20) as carrier:
        carrier.sendall(f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + raw.content)
        yield carrier


def received(carrier: socket.socket) -> tuple[bytes, bool]:
    """Everything until the end, and whether that was a reset."""
    found = b""
    try:
        while piece := carrier.recv(65_536):
            found += piece
    except ConnectionResetError:
        return found, True
    return found, False


@pytest.mark.parametrize(
    ("fault", "is_reset", "billed"),
    [("reset", True, False), ("close", False, False), ("lost_answer", True, True)],
)
def test_nothing_comes_before_the_end(start_standin: StartStandin, fault: str, is_reset: bool, billed: bool) -> None:
    """A reset is a TCP reset and a close is not one, no byte comes before either, and the log knows what it cost."""
    server = start_standin(fault)
    with asking(server) as carrier:
        assert received(carrier) == (b"", is_reset)
    [line] = answers(server.options.log)
    assert line["billed"] is billed
    assert not [line for line in read_log(server.options.log) if line["event"] == "delivered"]


@pytest.mark.parametrize(("fault", "is_reset"), [("reset_mid_body", True), ("truncated", False)])
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_a_part_of_the_body_comes_before_the_end(
    start_standin: StartStandin, fault: str, is_reset: bool, part: float
) -> None:
    """The headers announce the whole, the given part arrives, the rest never does, and all of it is billed."""
    server = start_standin(f"{fault}:part={part}")
    with asking(server) as carrier:
        found, was_reset = received(carrier)
    head, _, body = found.partition(b"\r\n\r\n")
    [announced] = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    assert was_reset is is_reset
    assert len(body) == int(int(announced) * part)
    assert [line["billed"] for line in answers(server.options.log)] == [True]
    assert len(read_log(server.options.log)) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", httpx.ReadError),
        ("close", httpx.RemoteProtocolError),
        ("reset_mid_body", httpx.ReadError),
        ("truncated", httpx.RemoteProtocolError),
        ("black_hole", httpx.ReadTimeout),
        ("drip:seconds=60", httpx.ReadTimeout),
        ("slow:seconds=60", httpx.ReadTimeout),
    ],
)
def test_a_client_meets_the_error_that_the_breakage_is(
    start_standin: StartStandin, fault: str, error: type[Exception]
) -> None:
    """Resets, early ends and silence are each their own error in an HTTP client."""
    server = start_standin(fault)
    with pytest.raises(error):
        httpx.post(f"{server.url}/v1/messages", json=message_body(), headers=HEADERS, timeout=0.3)


def test_a_reset_over_tls_is_a_broken_connection(tmp_path: Path, start_standin: StartStandin) -> None:
    """Encryption does not get in the way of the breakage."""
    certificate, key = write_certificate(tmp_path)
    server = start_standin("reset:first=1", certfile=certificate, keyfile=key)
    trust = ssl.create_default_context(cafile=certificate)
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        ask(server, verify=trust)
    assert ask(server, verify=trust).status_code == 200


def test_a_connection_reset_after_the_body_lost_nothing(start_standin: StartStandin) -> None:
    """The answer is whole, and only then the connection breaks."""
    server = start_standin("reset_after_body:first=1")
    with asking(server) as carrier:
        found, was_reset = received(carrier)
    assert was_reset
    assert found.endswith(b"}")
    assert settled(server)
    assert [line["event"] for line in read_log(server.options.log)] == ["answer", "delivered"]


def test_a_half_open_connection_answers_once_and_never_again(start_standin: StartStandin) -> None:
    """The next request over the same connection is never read; over a new one it is answered."""
    server = start_standin("half_open:first=1")
    url = f"{server.url}/v1/messages"
    with httpx.Client(headers=HEADERS, timeout=0.3) as client:
        assert client.post(url, json=message_body()).status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            client.post(url, json=message_body())
    assert server.service.counts["requests"] == 1
    assert ask(server).status_code == 200


def test_a_slow_answer_comes_whole(start_standin: StartStandin) -> None:
    """Late is not never."""
    answer = ask(start_standin("slow:seconds=0.05"))
    assert answer.json()["stop_reason"] == "end_turn"


def test_a_dripping_answer_comes_whole_in_the_end(start_standin: StartStandin) -> None:
    """A byte at a time is the same message."""
    server = start_standin("drip:seconds=0.0001")
    assert ask(server).json()["stop_reason"] == "end_turn"


def test_an_endless_answer_outgrows_any_bound(start_standin: StartStandin) -> None:
    """It has no length, and is cut by whoever reads it alone."""
    server = start_standin("endless")
    size = 0
    with httpx.stream("POST", f"{server.url}/v1/messages", json=message_body(), headers=HEADERS) as answer:
        assert "content-length" not in answer.headers
        for piece in answer.iter_bytes():
            size += len(piece)
            if size > 5_000_000:
                break
    assert size > 5_000_000


@pytest.mark.parametrize("fault", ["reset_mid_body:bytes=7", "truncated:bytes=7"])
def test_so_many_bytes_come_before_the_end(start_standin: StartStandin, fault: str) -> None:
    """Counted in the body, whatever part of it they are."""
    with asking(start_standin(fault)) as carrier:
        found, _ = received(carrier)
    assert len(found.partition(b"\r\n\r\n")[2]) == 7


@pytest.mark.parametrize("status", [500, 529])
def test_a_lost_answer_can_be_an_error(start_standin: StartStandin, status: int) -> None:
    """The work was done and is billed, though the client is told that it failed."""
    server = start_standin(f"lost_answer:status={status}")
    answer = ask(server)
    assert (answer.status_code, answer.json()["type"]) == (status, "error")
    assert [line["billed"] for line in answers(server.options.log)] == [True]
