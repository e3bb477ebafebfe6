"""What carries requests, by itself: bodies of every kind go out whole, and errors are httpx's."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
from support.certificates import make_authority, server_context
from support.raw_server import Connection, RawServer, replies, response

from pipeline.api.wire import CertificateError, Wire

pytestmark = pytest.mark.anyio


async def ask(url: str, content: bytes | AsyncIterator[bytes] | None = None, method: str = "POST") -> httpx.Response:
    """The answer to one request, read."""
    async with Wire(2, httpx.create_ssl_context()) as wire:
        answer = await wire.handle_async_request(httpx.Request(method, url, content=content))
        try:
            await answer.aread()
        finally:
            await answer.aclose()
    return answer


async def test_a_large_body_arrives_whole_and_with_its_length() -> None:
    """What goes out in pieces is one body for the server, not one in chunks."""
    body = bytes(range(256)) * 8000
    with RawServer(replies(response(b"{}"))) as server:
        assert (await ask(f"{server.url}/v1/files", body)).status_code == 200
    assert server.requests[0].endswith(body)
    assert b"transfer-encoding" not in server.requests[0][:500].lower()


async def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    """A stream needs no length, and its head says once how it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    def serve(connection: Connection) -> None:
        head = connection.head().lower()
        connection.head()  # the chunks, to the empty line behind the last
        connection.send(response(head.split(b"transfer-encoding: ")[1].splitlines()[0]))

    with RawServer(serve) as server:
        assert (await ask(server.url, pieces())).content == b"chunked"


async def test_an_answer_comes_with_its_status_headers_and_bytes() -> None:
    """Nothing is decoded, and a header that comes twice is there twice."""
    packed = b"\x1f\x8b not really gzip"
    answer = response(packed, "418 Teapot", {"content-encoding": "gzip", "x-a": "1\r\nx-a: 2"})
    with RawServer(replies(answer)) as server:
        async with Wire(2, httpx.create_ssl_context()) as wire:
            found = await wire.handle_async_request(httpx.Request("GET", server.url))
            raw = b"".join([piece async for piece in found.stream])  # type: ignore[union-attr]
            await found.aclose()
    assert (found.status_code, raw) == (418, packed)
    assert found.headers.get_list("x-a") == ["1", "2"]


async def test_a_refused_connection_is_a_connect_error() -> None:
    """The request never left, and the error says so by its type."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(httpx.ConnectError) as caught:
        await ask(f"http://127.0.0.1:{port}", b"{}")
    assert not isinstance(caught.value, CertificateError)
    assert caught.value.request.method == "POST"


async def test_a_bad_certificate_has_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from a server that is not there."""
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority(tmp_path)))
    server = RawServer(replies(response(b"{}")), server_context("expired"))
    with server, pytest.raises(CertificateError, match="expired"):
        await ask(server.url, b"{}")
    assert server.requests == []


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\n", response(b"{", length=9)])
async def test_a_connection_that_breaks_is_a_read_error(half: bytes) -> None:
    """Before the answer, in its head and in its body."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(half)

    with RawServer(serve) as server, pytest.raises(httpx.ReadError) as caught:
        await ask(server.url, b"{}")
    assert str(caught.value)


async def test_an_answer_that_is_left_half_read_gives_its_connection_back() -> None:
    """A pool of one connection serves the next request, on a new one."""
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 4096

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(endless)
        connection.request()

    with RawServer(serve) as server:
        async with Wire(1, httpx.create_ssl_context()) as wire:
            for _ in range(2):
                with anyio.fail_after(30):
                    answer = await wire.handle_async_request(httpx.Request("POST", server.url, content=b"{}"))
                    async for _ in answer.stream:  # type: ignore[union-attr]
                        break
                    await answer.aclose()
    assert server.connections == 2
