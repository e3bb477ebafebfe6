"""The HTTP session against real sockets that misbehave: what is translated to what, and where the key goes."""

import gzip
import logging
import socket
import threading
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from support.certificates import make_authority, server_context
from support.raw_server import Connection, RawServer, replies, response

from pipeline.api.transport import MAX_ANSWER_BYTES, Endpoint, Unanswered, open_session
from pipeline.errors import ConfigError, RunStoppedError

pytestmark = pytest.mark.anyio

KEY = "sk-ant-canary-5f1c9b7e2d"
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}


def endpoint(url: str, timeout_s: float = 30.0) -> Endpoint:
    """The endpoint of these tests, with the canary for a key."""
    return Endpoint(url, HEADERS, timeout_s)


async def unanswered(server: RawServer, timeout_s: float = 30.0) -> Unanswered:
    """How one request to this server ends."""
    async with open_session(endpoint(server.url, timeout_s), 2) as session:
        with pytest.raises(Unanswered) as caught:
            await session.post("/v1/messages", b"{}")
    return caught.value


async def test_sends_the_body_and_the_headers_as_they_are() -> None:
    """The server sees the very bytes, the key, no wish for compression and no cookie."""
    with RawServer(replies(response(b"{}", headers={"set-cookie": "a=b", "request-id": "req_1"}))) as server:
        async with open_session(endpoint(server.url), 2) as session:
            await session.post("/v1/messages", b'{"model": "m"}')
            reply = await session.post("/v1/messages", b'{"model": "m"}')
    sent = server.requests[1]
    assert sent.startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert sent.endswith(b'{"model": "m"}')
    head = sent.lower()
    assert b"x-api-key: " + KEY.encode() in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"cookie" not in head
    assert (reply.status, reply.body, reply.request_id) == (200, b"{}", "req_1")


async def test_a_path_in_the_base_url_is_kept() -> None:
    """A gateway that lives under a path gets its requests there."""
    with RawServer(replies(response(b"{}"))) as server:
        async with open_session(endpoint(f"{server.url}/anthropic"), 2) as session:
            await session.get("/v1/models")
    assert server.requests[0].startswith(b"GET /anthropic/v1/models HTTP/1.1\r\n")


async def test_the_connection_is_used_again_after_an_error_answer() -> None:
    """A refusal costs no new connection: two errors and an answer go over one."""
    error = response(b'{"error": {}}', "529 Overloaded")
    with RawServer(replies(error, error, response(b"{}"))) as server:
        async with open_session(endpoint(server.url), 4) as session:
            statuses = [(await session.post("/v1/messages", b"{}")).status for _ in range(3)]
    assert statuses == [529, 529, 200]
    assert server.connections == 1


async def test_no_one_listens() -> None:
    """A refused connection is a connection error of a request that never left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with open_session(endpoint(f"http://127.0.0.1:{port}"), 2) as session:
        with pytest.raises(Unanswered) as caught:
            await session.post("/v1/messages", b"{}")
    assert (caught.value.error_type, caught.value.sent) == ("connection_error", False)
    assert "ssl:" not in str(caught.value)


async def test_a_name_that_does_not_resolve_is_transient() -> None:
    """Name resolution may come back: a connection error of a request that never left, and no stop."""
    async with open_session(endpoint("http://nowhere.invalid"), 2) as session:
        with pytest.raises(Unanswered) as caught:
            await session.post("/v1/messages", b"{}")
    assert (caught.value.error_type, caught.value.sent) == ("connection_error", False)


def _after_the_request(connection: Connection) -> None:
    connection.request()


def _within_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(response(b'{"half": ', length=100))


def _within_a_chunk(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}")


def _no_http(connection: Connection) -> None:
    connection.request()
    connection.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


@pytest.mark.parametrize("serve", [_after_the_request, _within_the_body, _within_a_chunk, _no_http])
async def test_a_connection_that_ends_early_may_have_been_billed(serve: Callable[[Connection], None]) -> None:
    """Whatever breaks after the request has left is a connection error that counts as sent."""
    with RawServer(serve) as server:
        error = await unanswered(server)
    assert (error.error_type, error.sent) == ("connection_error", True)
    assert str(error)


async def test_a_post_is_never_repeated_by_the_library() -> None:
    """A connection that the server closed while it was idle fails the request: a hidden second POST could be billed."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.send(response(b"{}"))
        connection.request()

    with RawServer(serve) as server:
        async with open_session(endpoint(server.url), 2) as session:
            await session.post("/v1/messages", b"{}")
            with pytest.raises(Unanswered):
                await session.post("/v1/messages", b"{}")
    assert len([request for request in server.requests if request]) == 2


async def test_the_deadline_is_for_the_whole_attempt(start_standin: Callable[..., Any]) -> None:
    """An answer that drips a byte at a time ends with the deadline, though no single wait is long."""
    server = start_standin("drip:seconds=0.05")
    async with open_session(endpoint(server.url, 0.5), 2) as session:
        with pytest.raises(Unanswered) as caught, anyio.fail_after(20):
            await session.post("/v1/messages", b'{"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [' + TURN)
    assert (caught.value.error_type, caught.value.sent) == ("timeout", True)
    assert "0.5 s" in str(caught.value)


TURN = b'{"role": "user", "content": "Describe the sea."}]}'


async def test_silence_ends_with_the_deadline() -> None:
    """A black hole is a timeout."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.request()

    with RawServer(serve) as server:
        error = await unanswered(server, timeout_s=0.2)
    assert error.error_type == "timeout"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate"])
async def test_an_answer_that_is_compressed_all_the_same_is_read(coding: str) -> None:
    """A gateway that compresses unasked is understood."""
    body = b'{"content": "' + b"x" * 5000 + b'"}'
    packed = gzip.compress(body) if "gzip" in coding else zlib.compress(body)
    if coding == "raw deflate":
        press = zlib.compressobj(wbits=-15)
        packed = press.compress(body) + press.flush()
    headers = {"content-encoding": coding.removeprefix("raw ")}
    with RawServer(replies(response(packed, headers=headers))) as server:
        async with open_session(endpoint(server.url), 2) as session:
            assert (await session.get("/")).body == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "nonsense"])
async def test_what_cannot_be_decompressed_comes_as_it_is(coding: str) -> None:
    """A body that arrived whole is not a connection error, however unreadable: it may have been paid for."""
    with RawServer(replies(response(b"\x00no such coding", headers={"content-encoding": coding}))) as server:
        async with open_session(endpoint(server.url), 2) as session:
            reply = await session.post("/v1/messages", b"{}")
    assert (reply.status, reply.body) == (200, b"\x00no such coding")


async def test_answers_are_bounded_on_the_wire_and_decoded() -> None:
    """An endless body and a compression bomb are cut at the limit, and the session goes on."""
    bomb = gzip.compress(bytes(4 * MAX_ANSWER_BYTES), 9)

    def serve(connection: Connection) -> None:
        if b"bomb" in connection.request():
            connection.send(response(bomb, headers={"content-encoding": "gzip"}))
            connection.request()
            return
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.send(bytes(1 << 20))

    with RawServer(serve) as server:
        async with open_session(endpoint(server.url), 2) as session:
            assert len((await session.post("/endless", b"{}")).body) == MAX_ANSWER_BYTES
            assert len((await session.post("/bomb", b"{}")).body) == MAX_ANSWER_BYTES


async def test_a_redirect_is_not_followed() -> None:
    """The key goes to no other place, on whatever host the redirect points."""
    with RawServer(replies(response(b"{}"))) as other:
        moved = response(b"", "307 Temporary Redirect", {"location": f"{other.url}/v1/messages"})
        with RawServer(replies(moved)) as server:
            async with open_session(endpoint(server.url), 2) as session:
                reply = await session.post("/v1/messages", b"{}")
    assert reply.status == 307
    assert other.connections == 0


async def test_an_early_refusal_of_a_large_body_is_seen() -> None:
    """A server that answers 413 after the head and reads no further is heard while the body is still going out."""
    heard = threading.Event()

    def serve(connection: Connection) -> None:
        connection.head()
        connection.send(response(b'{"error": {"type": "request_too_large"}}', "413 Too Large"))
        heard.wait(timeout=30)
        connection.head()
        over.set()

    over = threading.Event()

    with RawServer(serve) as server:
        async with open_session(endpoint(server.url), 2) as session:
            reply = await session.post("/v1/messages", bytes(8 << 20))
            heard.set()
            await to_thread.run_sync(over.wait, 30)
    assert reply.status == 413


@pytest.mark.parametrize(
    ("kind", "word"), [("expired", "expired"), ("other_host", "mismatch"), ("self_signed", "self-signed")]
)
async def test_a_bad_certificate_stops_the_run_and_gets_no_key(
    kind: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired certificate, another host's or a self-signed one is no passing fault; its owner is sent nothing."""
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority(tmp_path)))
    with RawServer(replies(response(b"{}")), server_context(kind)) as server:
        async with open_session(endpoint(server.url), 2) as session:
            with pytest.raises(RunStoppedError) as caught:
                await session.post("/v1/messages", b"{}")
    assert word in str(caught.value).lower()
    assert "certificate" in str(caught.value)
    assert "SSL_CERT_FILE" in str(caught.value)
    assert caught.value.exit_code == 3
    assert server.requests == []


async def test_a_private_authority_can_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-hosted server with a certificate of the authority in SSL_CERT_FILE is served like any other."""
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority(tmp_path)))
    with RawServer(replies(response(b"{}")), server_context("good")) as server:
        async with open_session(endpoint(server.url), 2) as session:
            assert (await session.get("/v1/models")).status == 200


async def test_proxy_settings_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is not sent through a proxy that happens to be set."""
    with RawServer(replies(response(b"{}"))) as proxy, RawServer(replies(response(b"{}"))) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with open_session(endpoint(server.url), 2) as session:
            await session.post("/v1/messages", b"{}")
    assert (proxy.connections, server.connections) == (0, 1)


async def test_a_key_that_the_server_echoes_is_masked() -> None:
    """A server that repeats the key in body, headers and request id leaves no trace of it in the reply."""
    body = f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode()
    echo = response(body, "401 No", {"request-id": f"req_{KEY}", "x-echo": KEY})
    with RawServer(replies(echo)) as server:
        async with open_session(endpoint(server.url), 2) as session:
            reply = await session.post("/v1/messages", b"{}")
    assert KEY not in repr((reply.body, reply.headers, reply.request_id))
    assert b"bad key ***" in reply.body


async def test_the_key_is_in_no_repr_log_or_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Objects, logs at every level and chained tracebacks of a failed request do not show it, nor a URL's password."""
    caplog.set_level(logging.DEBUG)
    password = "p4ssword-canary-93"
    with RawServer(_within_the_body) as server:
        where = endpoint(server.url.replace("://", f"://user:{password}@"))
        async with open_session(where, 2) as session:
            with pytest.raises(Unanswered) as caught:
                await session.post("/v1/messages", b"{}")
            shown = [repr(where), repr(session), repr(caught.value), *traceback.format_exception(caught.value)]
    shown.append(caplog.text)
    assert KEY not in "".join(shown)
    assert password not in "".join(shown)
    assert b"authorization: basic" in server.requests[0].lower()


def test_only_what_is_named_as_a_secret_and_is_long_is_masked() -> None:
    """Short keys of local servers, and headers that are no secrets, may be words of a caption."""
    headers = {"x-api-key": "ollama", "anthropic-version": "2023-06-01-long", "authorization": "Bearer token-of-mine"}
    assert Endpoint("https://a.example", headers).secrets == ("token-of-mine",)
    assert Endpoint("https://u:pass%20word%20123@a.example", {}).secrets == ("pass%20word%20123", "pass word 123")


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "http://", "http://[::1", "http://a:99999999"])
async def test_what_is_no_address_is_said_before_anything_is_sent(url: str) -> None:
    """A base URL that cannot be used is a configuration error."""
    with pytest.raises(ConfigError, match=r"api\.base_url"):
        async with open_session(Endpoint(url, {}), 2):
            pass


@pytest.mark.parametrize("headers", [{"x-a": "b\r\nx-evil: 1"}, {"x-a": "ü"}, {"bad name": "b"}, {"": "b"}])
async def test_headers_that_cannot_be_sent_are_said_before_anything_is_sent(headers: dict[str, str]) -> None:
    """A line break or a foreign letter in a header is a configuration error that does not show the value."""
    with pytest.raises(ConfigError, match=r"api\.headers") as caught:
        async with open_session(Endpoint("http://127.0.0.1:9", headers), 2):
            pass
    assert "evil" not in str(caught.value)
