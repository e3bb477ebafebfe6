"""The server as a process and as a thread: where it listens, how it ends."""

import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.asking import HEADERS, ask, message_body
from support.certificates import write_certificate
from support.standins import answers

from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
SCRIPT = """
import sys
from pathlib import Path
from pipeline.standin.faults import parse_fault
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import serve
serve(StandinOptions(log=Path(sys.argv[1]), faults=tuple(map(parse_fault, sys.argv[2:]))))
"""


@contextmanager
def serving(log: Path, *faults: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-c", SCRIPT, str(log), *faults]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            yield process, line.removeprefix("listening on ").strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    """It exits with 0, says nothing more on either stream, and its log is whole."""
    with serving(tmp_path / "log.jsonl") as (process, url):
        assert httpx.post(f"{url}/v1/messages", json=message_body(), headers=HEADERS).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")
    assert len(answers(tmp_path / "log.jsonl")) == 1


@pytest.mark.parametrize("fault", ["black_hole", "drip:seconds=30", "endless"])
def test_a_signal_ends_it_in_the_middle_of_an_answer(tmp_path: Path, fault: str) -> None:
    """A request that would never end has a second, then the server goes without a traceback."""
    with serving(tmp_path / "log.jsonl", fault) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as carrier:
            raw = httpx.Request("POST", url, json=message_body(), headers=HEADERS)
            head = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
            carrier.sendall(f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + raw.content)
            while not answers(tmp_path / "log.jsonl"):
                pass
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port_is_an_error_at_once(start_standin: StartStandin) -> None:
    """It is told before anything runs."""
    port = int(start_standin().url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        StandinServer(StandinOptions(port=port))


def test_it_is_gone_when_its_block_is_left() -> None:
    """Nobody listens there any more."""
    with StandinServer() as server:
        assert ask(server).status_code == 200
    with pytest.raises(httpx.ConnectError):
        ask(server)


def test_requests_that_come_before_it_runs_are_answered() -> None:
    """The socket listens as soon as the server exists, so nobody has to wait for it to come up."""
    server = StandinServer()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as carrier:
        carrier.sendall(b"GET /_standin/stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        with server:
            assert carrier.recv(65_536).startswith(b"HTTP/1.1 200")


def test_it_speaks_tls_with_a_certificate(tmp_path: Path, start_standin: StartStandin) -> None:
    """Whoever trusts the certificate is answered, whoever does not sends nothing."""
    certificate, key = write_certificate(tmp_path)
    server = start_standin(certfile=certificate, keyfile=key)
    assert server.url.startswith("https://")
    assert ask(server, verify=ssl.create_default_context(cafile=certificate)).status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server)
    assert server.service.counts["requests"] == 1


def test_a_missing_certificate_is_an_error_at_once(tmp_path: Path) -> None:
    """It is told before anything runs."""
    with pytest.raises(FileNotFoundError):
        StandinServer(StandinOptions(certfile=tmp_path / "absent.pem", keyfile=tmp_path / "absent.pem"))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_the_newer_kind_is_written_in_brackets(start_standin: StartStandin) -> None:
    """IPv6 loopback works, and its URL can be used as it is."""
    server = start_standin(host="::1")
    assert server.url.startswith("http://[::1]:")
    assert ask(server).status_code == 200


def test_many_connections_at_once_are_all_taken(start_standin: StartStandin) -> None:
    """Two hundred clients that connect in one moment are all answered."""
    server = start_standin()
    host, port = server.url.removeprefix("http://").split(":")
    carriers = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
    for carrier in carriers:
        carrier.sendall(b"GET /_standin/stats HTTP/1.1\r\nhost: x\r\n\r\n")
    for carrier in carriers:
        assert carrier.recv(65_536).startswith(b"HTTP/1.1 200")
        carrier.close()


def test_an_answer_leaves_without_delay(start_standin: StartStandin) -> None:
    """Connections do not hold small pieces back: the body of an answer would wait for the client's acknowledgement."""
    server = start_standin()
    with httpx.Client(headers=HEADERS, verify=False) as client:
        client.post(f"{server.url}/v1/messages", json=message_body())
        open_ones = server._server.server_state.connections
        flags = [
            each.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for each in open_ones
        ]
    assert flags
    assert all(flags)
