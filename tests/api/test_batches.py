"""The Message Batches API as the client speaks it, against a server that answers byte by byte."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_server import Connection, RawServer

from pipeline.api.batch_states import BatchState
from pipeline.api.batches import Batches
from pipeline.api.transport import Endpoint, Unanswered, open_session
from pipeline.errors import RunStoppedError
from pipeline.settings import SettingsRetry

RETRY = SettingsRetry(max_attempts=2, max_wait_seconds=0.01, drain_seconds=1.0)
KEY = "sk-ant-test-0123456789abcdef"


@asynccontextmanager
async def service(url: str) -> AsyncIterator[Batches]:
    """The account at an address."""
    async with open_session(Endpoint(url, {"x-api-key": KEY}), 2) as session:
        yield Batches(session, url, RETRY, anyio.sleep)


def ended(url: str | None) -> BatchState:
    """A batch that has ended, whose results lie there."""
    return BatchState("msgbatch_1", "ended", 1, {"succeeded": 1}, results_url=url)


async def lines_at(url: str, results_url: str | None = None) -> list[bytes]:
    """The lines of its results."""
    async with service(url) as batches, aclosing(batches.results(ended(results_url))) as lines:
        return [line async for line in lines]


def chunked(pieces: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer in these chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + end


@given(
    st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"\\n")), max_size=6),
    st.data(),
)
@settings(deadline=None, max_examples=25)
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    """Empty ones are none, and the last one needs no end."""
    body = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(chunked(pieces))

    with RawServer(serve) as server:
        assert anyio.run(lines_at, f"http://127.0.0.1:{server.port}") == [line for line in lines if line.strip()]


def test_results_that_end_too_early_are_told() -> None:
    """What came is given out before."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(chunked([b"one\ntwo\nthr"], b""))
        connection.close()

    with RawServer(serve) as server, pytest.raises(Unanswered):
        anyio.run(lines_at, f"http://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    "told",
    [
        "http://127.0.0.2:{port}/v1/messages/batches/x/results",
        "https://127.0.0.1:{port}/results",
        "http://127.0.0.1:{port}@127.0.0.2/results",
        "//127.0.0.2/results",
        "http://127.0.0.1:99999/results",
        "http://[::1/results",
        "file:///etc/passwd",
    ],
)
def test_no_other_host_is_asked_for_results(told: str) -> None:
    """Whatever the service says, the key goes to its own address alone; what is no URL at all is refused too."""
    with RawServer(lambda connection: connection.close()) as server:
        url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(RunStoppedError, match="not fetched"):
            anyio.run(lines_at, url, told.format(port=server.port))
        assert not server.requests


@pytest.mark.parametrize("told", [None, "{url}/v1/elsewhere?page=1", "/v1/elsewhere?page=1"])
def test_results_are_read_where_they_lie(told: str | None) -> None:
    """By the URL that the service tells, relative or not, or by the batch's id."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(chunked([b"one\n"]))

    with RawServer(serve) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert anyio.run(lines_at, url, told and told.format(url=url)) == [b"one"]
        expected = b"/v1/messages/batches/msgbatch_1/results" if told is None else b"/v1/elsewhere?page=1"
        assert server.requests[0].split()[1] == expected


def test_a_batch_that_has_ended_is_not_canceled() -> None:
    """The service refuses, and how the batch stands is told."""
    state: dict[str, Any] = {"id": "msgbatch_1", "processing_status": "ended"}

    def serve(connection: Connection) -> None:
        while request := connection.request():
            body = json.dumps(state if request.startswith(b"GET") else {"type": "error"}).encode()
            status = b"200 OK" if request.startswith(b"GET") else b"400 Bad Request"
            connection.send(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))

    async def canceled(url: str) -> BatchState | None:
        async with service(url) as batches:
            return await batches.cancel("msgbatch_1")

    with RawServer(serve) as server:
        found = anyio.run(canceled, f"http://127.0.0.1:{server.port}")
    assert found is not None
    assert found.ended
