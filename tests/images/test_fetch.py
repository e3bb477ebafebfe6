"""Fetching: what is asked of whom, what is refused, and how every answer ends."""

import logging
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from support.certificates import write_certificate
from support.web import Detour, Web, reply, resolving

from pipeline.errors import ErrorType, ImageError
from pipeline.images.fetch import Fetcher, FetchSettings, Resolver, resolve, shown

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
OPEN = FetchSettings(max_bytes=100_000, timeout_s=10, attempts=1, allow_private_hosts=True)
GUARDED = FetchSettings(max_bytes=100_000, timeout_s=10, attempts=1)


async def refused(url: str, settings: FetchSettings = OPEN, resolver: Resolver = resolve) -> ImageError:
    """The error that fetching this URL ends with."""
    async with Fetcher(settings, resolver) as fetcher:
        with pytest.raises(ImageError) as caught:
            await fetcher.fetch(url)
    return caught.value


async def test_the_body_arrives_whole() -> None:
    """What the server sends is what is returned, byte for byte."""
    body = bytes(range(256)) * 300
    with Web({"/a.jpg": reply(body)}) as web:
        async with Fetcher(OPEN) as fetcher:
            assert await fetcher.fetch(f"{web.url}/a.jpg") == body


async def test_nothing_of_the_user_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookie, netrc entry, proxy or key is sent: the request carries four headers, and goes to the host itself."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password canary-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary-proxy@127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://user:canary-proxy@127.0.0.1:9")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-key")
    with Web({"/": reply(b"x", set_cookie="canary=1; Path=/", connection="keep-alive")}) as web:
        async with Fetcher(OPEN) as fetcher:
            for _ in range(2):
                await fetcher.fetch(f"{web.url}/?q=1#part")
    for head in web.requests:
        first, *lines = head.decode().rstrip().split("\r\n")
        assert first == "GET /?q=1 HTTP/1.1"
        assert {line.partition(":")[0].lower() for line in lines} == {"host", "user-agent", "accept", "accept-encoding"}
        assert b"canary" not in head
        assert f"Host: 127.0.0.1:{web.port}" in lines


async def test_the_host_keeps_its_name() -> None:
    """A judged address is dialled, and the server is still asked under the name that the URL has."""
    with Web({"/a": reply(b"x")}) as web:
        detour = Detour({PUBLIC: web.port})
        async with Fetcher(GUARDED, resolving(picture_test=PUBLIC), dialler=detour) as fetcher:
            assert await fetcher.fetch("http://picture.test/a") == b"x"
    assert b"\r\nHost: picture.test\r\n" in web.requests[0]
    assert detour.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "127。0。0。1",
    ],
)
async def test_a_private_address_gets_no_connection(host: str) -> None:
    """However loopback, private and metadata addresses are spelled, nothing connects to them."""
    with Web({"/": reply(b"secret")}) as inside:
        detour = Detour()
        async with Fetcher(GUARDED, dialler=detour) as fetcher:
            with pytest.raises(ImageError) as caught:
                await fetcher.fetch(f"http://{host}:{inside.port}/")
        assert inside.connections == 0
    assert detour.dialled == []
    assert caught.value.error_type in (ErrorType.IMAGE_REFUSED, ErrorType.IMAGE_FETCH_FAILED)
    assert not caught.value.retryable


async def test_a_refusal_names_the_setting_that_allows_it() -> None:
    """Whoever wants to fetch from the own network reads how."""
    error = await refused("http://127.0.0.1:1/a.jpg", GUARDED)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "http://127.0.0.1:1/a.jpg" in str(error)
    assert "images.allow_private_hosts = true" in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "http://inside.test/",
        "http://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "file:///etc/passwd",
        "ftp://public.test/",
        "data:image/png;base64,AAAA",
        "http://user:canary@public.test/",
        "http://[bad",
        "http://public.test:99999/",
        "http:",
    ],
)
async def test_a_redirect_is_judged_like_the_first_request(location: str) -> None:
    """A public server cannot lead inside, to another scheme or to nonsense: nothing beyond it is dialled."""
    with Web({"/inside": reply(b"secret")}) as inside, Web({}) as web:
        web.answers["/go"] = [reply(status="302 Found", location=location.format(port=inside.port))]
        detour = Detour({PUBLIC: web.port})
        hosts = resolving(public_test=PUBLIC, inside_test="127.0.0.1", **{"127_0_0_1": "127.0.0.1"})
        async with Fetcher(GUARDED, hosts, dialler=detour) as fetcher:
            with pytest.raises(ImageError) as caught:
                await fetcher.fetch("http://public.test/go")
        assert inside.connections == 0
    assert set(detour.dialled) == {PUBLIC}
    assert "public.test/go" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert not caught.value.retryable


async def test_redirects_are_followed_five_times() -> None:
    """Five redirects, relative ones too, lead to the image; a sixth is not followed."""
    chain = {f"/{step}": reply(status="301 Moved", location=f"{step + 1}") for step in range(6)}
    with Web({**chain, "/6": reply(b"image")}) as web:
        async with Fetcher(OPEN) as fetcher:
            assert await fetcher.fetch(f"{web.url}/1") == b"image"
        asked = len(web.requests)
        error = await refused(f"{web.url}/0")
        assert len(web.requests) - asked == 6
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED


async def test_a_redirect_loop_ends() -> None:
    """A server that redirects to itself is asked six times and given up."""
    with Web({"/": reply(status="307 Temporary Redirect", location="/")}) as web:
        error = await refused(f"{web.url}/", FetchSettings(attempts=3, allow_private_hosts=True))
        assert len(web.requests) == 6
    assert "5 redirects" in str(error)


async def test_tls_is_checked_against_the_name_even_where_two_names_share_an_address(tmp_path: Path) -> None:
    """A connection that was proven for one host serves no other at the same address; a bad peer is asked once."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = write_certificate(tmp_path, "picture.test")
    tls.load_cert_chain(certificate, key)
    settings = FetchSettings(attempts=3)
    with Web({"/": reply(b"image", connection="keep-alive")}, tls) as web:
        trusting = ssl.create_default_context(cafile=certificate)
        hosts = resolving(picture_test=PUBLIC, other_test=PUBLIC)
        async with Fetcher(settings, hosts, trusting, Detour({PUBLIC: web.port})) as fetcher:
            assert await fetcher.fetch("https://picture.test/") == b"image"
            with pytest.raises(ImageError) as caught:
                await fetcher.fetch("https://other.test/")
        assert len(web.requests) == 1
        assert web.connections == 2
    assert "certificate" in str(caught.value)
    assert not caught.value.retryable


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """By default a self-signed server gets no request."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = write_certificate(tmp_path, "picture.test")
    tls.load_cert_chain(certificate, key)
    with Web({"/": reply(b"image")}, tls) as web:
        async with Fetcher(GUARDED, resolving(picture_test=PUBLIC), dialler=Detour({PUBLIC: web.port})) as fetcher:
            with pytest.raises(ImageError):
                await fetcher.fetch("https://picture.test/")
        assert web.requests == []


async def test_https_does_not_lead_to_http(tmp_path: Path) -> None:
    """A redirect that drops the encryption is refused."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = write_certificate(tmp_path, "picture.test")
    tls.load_cert_chain(certificate, key)
    with Web({"/": reply(status="302 Found", location="http://picture.test/plain")}, tls) as web:
        trusting = ssl.create_default_context(cafile=certificate)
        detour = Detour({PUBLIC: web.port})
        async with Fetcher(GUARDED, resolving(picture_test=PUBLIC), trusting, detour) as fetcher:
            with pytest.raises(ImageError) as caught:
                await fetcher.fetch("https://picture.test/")
    assert caught.value.error_type == ErrorType.IMAGE_REFUSED
    assert len(detour.dialled) == 1


def endless(head: bytes, piece: bytes) -> object:
    """An answer that never ends by itself."""

    def answer(stream: socket.socket, over: threading.Event) -> None:
        with suppress(OSError):
            stream.sendall(head)
            while not over.is_set():
                stream.sendall(piece)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "chunked": endless(CHUNKED, b"8000\r\n" + b"x" * 32_768 + b"\r\n"),
    "one byte a chunk": endless(CHUNKED, b"1\r\nx\r\n" * 10_000),
    "until the connection closes": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
    "said to be longer": endless(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", b"x" * 65_536),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_endless_body_is_cut_at_the_cap(kind: str) -> None:
    """However a server pours, at most the cap and 64 KB of its framed body are read, and the row says too large."""
    with Web({"/": ENDLESS[kind]}) as web:  # type: ignore[dict-item]
        detour = Detour()
        async with Fetcher(OPEN, dialler=detour) as fetcher:
            with pytest.raises(ImageError) as caught:
                await fetcher.fetch(f"{web.url}/")
    framing = 6 if kind == "one byte a chunk" else 1
    assert detour.read_bytes <= (OPEN.max_bytes + 1) * framing + 65_536 + 1000
    assert caught.value.error_type == ErrorType.IMAGE_TOO_LARGE
    assert "images.max_bytes" in str(caught.value)


async def test_a_body_of_exactly_the_cap_is_taken() -> None:
    """The cap itself is allowed, one byte more is not."""
    with Web({"/cap": reply(b"x" * OPEN.max_bytes), "/over": reply(b"x" * (OPEN.max_bytes + 1))}) as web:
        async with Fetcher(OPEN) as fetcher:
            assert len(await fetcher.fetch(f"{web.url}/cap")) == OPEN.max_bytes
        assert (await refused(f"{web.url}/over")).error_type == ErrorType.IMAGE_TOO_LARGE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(encoding: str) -> None:
    """What was not asked for may be a bomb: a compressed body is not read."""
    with Web({"/": reply(b"\x1f\x8b" * 100, content_encoding=encoding)}) as web:
        error = await refused(f"{web.url}/")
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert "compressed" in str(error)


MALFORMED = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "torn head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "less than said": b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort",
    "torn chunk": CHUNKED + b"ff\r\nabc",
    "bad chunk": CHUNKED + b"zz\r\nabc\r\n",
    "a length of 5,000 digits": b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\nx",
    "a length that is no number": "HTTP/1.1 200 OK\r\ncontent-length: ²\r\n\r\nx".encode("latin-1"),
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "a head of 1 MB": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
    "status of words": b"HTTP/1.1 two hundred\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_an_answer_that_is_not_http_costs_its_row_alone(kind: str) -> None:
    """Torn and malformed answers are failures of the fetch, worth another try, never a crash."""

    def answer(stream: socket.socket, over: threading.Event) -> None:
        with suppress(OSError):
            stream.sendall(MALFORMED[kind])

    with Web({"/": answer}) as web:
        error = await refused(f"{web.url}/")
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert error.retryable


@pytest.mark.parametrize("drips", [False, True])
async def test_a_server_that_stalls_or_drips_is_left_in_time(*, drips: bool) -> None:
    """The deadline is for the whole fetch: bytes that trickle in do not extend it."""

    def answer(stream: socket.socket, over: threading.Event) -> None:
        with suppress(OSError):
            stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n")
            while not over.wait(0.01):
                stream.sendall(b"x" if drips else b"")

    with Web({"/": answer}) as web:
        settings = FetchSettings(timeout_s=0.2, attempts=1, allow_private_hosts=True)
        error = await refused(f"{web.url}/", settings)
    assert "within 0.2 s" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    ("status", "retryable"), [("404 Not Found", False), ("403 Forbidden", False), ("204 No", False)]
)
async def test_a_final_status_is_not_asked_again(status: str, *, retryable: bool) -> None:
    """A missing image costs one request, and the row carries the status."""
    with Web({"/": reply(status=status)}) as web:
        error = await refused(f"{web.url}/", FetchSettings(attempts=3, allow_private_hosts=True))
        assert len(web.requests) == 1
    assert error.http_status == int(status[:3])
    assert error.retryable is retryable


async def test_a_server_in_trouble_is_asked_again_when_it_says() -> None:
    """Two refusals with `Retry-After: 0` are followed by the image, within one fetch."""
    busy = reply(status="503 Service Unavailable", retry_after="0")
    with Web({"/": [busy, reply(status="429 Too Many", retry_after="0"), reply(b"image")]}) as web:
        async with Fetcher(FetchSettings(attempts=3, allow_private_hosts=True)) as fetcher:
            assert await fetcher.fetch(f"{web.url}/") == b"image"
        assert len(web.requests) == 3


async def test_the_attempts_end() -> None:
    """A server that stays in trouble is asked as often as allowed; the next run may try again."""
    with Web({"/": reply(status="500 Oops", retry_after="0")}) as web:
        error = await refused(f"{web.url}/", FetchSettings(attempts=3, allow_private_hosts=True))
        assert len(web.requests) == 3
    assert error.retryable
    assert error.http_status == 500


async def test_a_server_that_wants_an_hour_is_left_for_the_next_run() -> None:
    """A long `Retry-After` is obeyed by not asking again in this run."""
    with Web({"/": reply(status="429 Too Many", retry_after="3600")}) as web:
        error = await refused(f"{web.url}/", FetchSettings(attempts=3, allow_private_hosts=True))
        assert len(web.requests) == 1
    assert error.retryable


async def test_a_refused_connection_is_retryable() -> None:
    """Where nobody listens, the next run may try again."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = await refused(f"http://127.0.0.1:{port}/a.jpg")
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert error.retryable


async def test_an_unknown_host_is_final() -> None:
    """A name that does not exist is not looked up again and again."""
    error = await refused("http://gone.test/", FetchSettings(attempts=3), resolving())
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert not error.retryable


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///a.jpg",
        "http:a.jpg",
        "http://host.test:0/",
        "http://host.test:70000/",
        "http://host.test:port/",
        "http://[::1/",
        "http://a\nb/",
        "http://user:canary@host.test/",
        "http://user:canary@[bad/",
        f"http://{'x' * 70_000}/",
    ],
)
async def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    """Malformed URLs, impossible ports and URLs with a password are refused on one line, without the password."""
    error = await refused(url, OPEN, resolving(host_test="127.0.0.1"))
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "canary" not in str(error)
    assert "\n" not in str(error)


async def test_signed_parts_of_a_url_are_in_no_message_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A query may be a signature: neither the error nor any log line shows it."""
    caplog.set_level(logging.DEBUG)
    with Web({"/a.jpg": reply(status="403 Forbidden")}) as web:
        error = await refused(f"{web.url}/a.jpg?X-Amz-Signature=canary")
        assert b"canary" in web.requests[0]
    assert "/a.jpg" in str(error)
    assert "canary" not in str(error)
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:pw@host.test:8443/a%20b.jpg?sig=1#part", "https://host.test:8443/a%20b.jpg"),
        ("HTTP://Host.test/a", "http://host.test/a"),
        ("http://[::1]:80/a%1b", "http://[::1]/a%1b"),
        ("http://user:pw@host:port/a?sig=1", "http://host:port/a"),
        ("http://host/\x1b[31m?sig", "http://host/?[31m"),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    """Scheme, host, port and path as written; no user, password, query, fragment or control character."""
    assert shown(url) == text


def test_a_long_url_is_cut_where_it_is_shown() -> None:
    """A message stays readable."""
    assert len(shown("http://host.test/" + "a" * 1000)) == 300
