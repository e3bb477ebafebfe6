"""The HTTP session with the service: one door for httpx, and the translation of its errors.

`wire` carries the requests, aiohttp under httpx's interface. What every request repeats is made once: its URL, its
headers. Redirects are not followed: the key goes nowhere else. Certificates are always verified, against the bundle
that ships with certifi, or that of `SSL_CERT_FILE` or `SSL_CERT_DIR` for a private authority; no proxy or netrc setting
is read. Whatever the service says, the key is masked in it before anybody else sees it.
"""

import re
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from urllib.parse import unquote

import anyio
import httpx

from pipeline.api.wire import CertificateError, Wire
from pipeline.errors import ConfigError, ErrorType, RunStoppedError

__all__ = ["MAX_ANSWER_BYTES", "Endpoint", "Reply", "Session", "Unanswered", "open_session"]

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Some thirty times what 128,000 output tokens take; with 256 requests in flight a bound on memory too."""
_PATHS = 16
"""So many paths are known by their URL; there are few, but for those that name a file."""
_SECRET_WORDS = ("key", "auth", "token", "secret", "cookie", "password", "credential", "signature")
_SHORTEST_SECRET = 12
"""Shorter ones, such as the `ollama` that some servers want for a key, may be words of a caption."""
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and what goes with each of them; the key never shows in a repr.

    Attributes:
        base_url: without `/v1`.
        headers: authentication, version, content type and the user's own.
        timeout_s: the total time of one attempt.
    """

    base_url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float = 600.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown: the values of headers whose names say so, and the password of the URL."""
        values = [
            value.removeprefix("Bearer ")
            for name, value in self.headers.items()
            if any(word in name.lower() for word in _SECRET_WORDS)
        ]
        match = re.match(r"[a-z]+://[^/@]*:([^/@]*)@", self.base_url)
        values += [match[1], unquote(match[1])] if match else []
        return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body arrived whole.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: decoded; one of more than `MAX_ANSWER_BYTES` is cut there.
        elapsed_ms: from the start of the attempt to the last byte received.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    elapsed_ms: float = 0.0

    @property
    def request_id(self) -> str | None:
        """The service's number of this answer."""
        return self.headers.get("request-id")


class Unanswered(Exception):  # noqa: N818 - it names an outcome, and is always handled
    """No whole answer came.

    Attributes:
        error_type: `timeout` or `connection_error`.
        sent: whether the request may have reached the service, and so may be billed.
    """

    def __init__(self, error_type: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.error_type = str(error_type)
        self.sent = sent


class Session:
    """Sends bodies to one endpoint; made by `open_session`.

    Args:
        client: knows the base URL and the headers of every request.
        transport: the client's; asked directly, since what the client adds on the way (redirects, cookies, hooks) is
            what a session must not have.
        endpoint: where requests go.
    """

    def __init__(self, client: httpx.AsyncClient, transport: httpx.AsyncBaseTransport, endpoint: Endpoint) -> None:
        self._client = client
        self._transport = transport
        self._timeout_s = endpoint.timeout_s
        self._secrets = endpoint.secrets
        self._url = lru_cache(maxsize=_PATHS)(lambda path: client.build_request("GET", path).url)
        self._headers = client.build_request("GET", "/").headers

    async def post(self, path: str, body: bytes, *, content_type: str | None = None) -> Reply:
        """Sends a body, of another type than JSON where given, and waits for the whole answer.

        Raises:
            Unanswered: no whole answer came within the deadline.
            RunStoppedError: the server's certificate cannot be trusted; nothing was sent.
        """
        return await self._ask("POST", path, body, content_type)

    async def get(self, path: str) -> Reply:
        """Asks for a resource.

        Raises:
            Unanswered: as `post`.
            RunStoppedError: as `post`.
        """
        return await self._ask("GET", path, None)

    async def delete(self, path: str) -> Reply:
        """Has a resource removed.

        Raises:
            Unanswered: as `post`.
            RunStoppedError: as `post`.
        """
        return await self._ask("DELETE", path, None)

    async def _ask(self, method: str, path: str, body: bytes | None, content_type: str | None = None) -> Reply:
        started = time.monotonic()
        with anyio.move_on_after(self._timeout_s):
            try:
                response, raw = await self._exchange(method, path, body, content_type)
            except _FAILURES as error:
                raise self._translated(error) from error
            said = self._said(response.headers.raw)
            content = self.masked(_decoded(raw, said.get("content-encoding", "")))
            return Reply(response.status_code, said, content, (time.monotonic() - started) * 1000)
        raise Unanswered(ErrorType.TIMEOUT, f"no whole answer within {self._timeout_s:g} s", sent=True)

    async def _exchange(
        self, method: str, path: str, body: bytes | None, content_type: str | None
    ) -> tuple[httpx.Response, bytes]:
        headers = self._headers
        if content_type is not None:
            headers = httpx.Headers(headers)
            headers["content-type"] = content_type
        request = httpx.Request(method, self._url(path), headers=headers, content=body)
        response = await self._transport.handle_async_request(request)
        try:
            return response, await _whole_body(response)
        finally:
            await response.aclose()

    @asynccontextmanager
    async def streamed(
        self,
        method: str,
        path: str,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncIterator[httpx.Response]:
        """An exchange whose bodies go by in pieces, for what is too large to be held. No deadline of its own.

        What arrives is neither decoded nor masked: `masked` is for what is kept of it.

        Raises:
            Unanswered: it did not come to its end.
            RunStoppedError: as `post`.
        """
        request = self._client.build_request(method, path, content=content, headers=dict(headers))
        try:
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except _FAILURES as error:
            raise self._translated(error) from error

    def masked(self, raw: bytes) -> bytes:
        """What arrived, with the key masked in it."""
        for secret in self._secrets:
            raw = raw.replace(secret.encode(), b"***")
        return raw

    def _said(self, raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
        """Headers as text, names in lower case, the key masked; one that came twice is one list."""
        said: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), self._masked(value.decode("utf-8", "replace"))
            said[key] = f"{said[key]}, {text}" if key in said else text
        return said

    def _translated(self, error: Exception) -> Unanswered | RunStoppedError:
        """Our error for one of httpx's."""
        reason = self._masked(_line(str(error))) or type(error).__name__
        if isinstance(error, CertificateError):
            return RunStoppedError(
                f"{self._client.base_url.host}: its certificate cannot be trusted, so nothing was sent: {reason}; "
                "check api.base_url and the clock, or name a private authority's bundle in SSL_CERT_FILE"
            )
        kind = ErrorType.TIMEOUT if isinstance(error, httpx.TimeoutException) else ErrorType.CONNECTION_ERROR
        return Unanswered(kind, reason, sent=not isinstance(error, _UNSENT))

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


@asynccontextmanager
async def open_session(endpoint: Endpoint, connections: int) -> AsyncIterator[Session]:
    """A session with a pool of so many connections.

    Raises:
        ConfigError: the URL or a header cannot be sent.
    """
    url, auth = _address(endpoint)
    _check_headers(endpoint.headers)
    transport = Wire(connections, httpx.create_ssl_context())
    async with httpx.AsyncClient(
        base_url=url,
        headers={**endpoint.headers, **auth, "accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        transport=transport,
        follow_redirects=False,
        trust_env=False,
        timeout=None,  # noqa: S113 - the wire's for connecting, the session's for everything
    ) as client:
        yield Session(client, transport, endpoint)


def _address(endpoint: Endpoint) -> tuple[httpx.URL, dict[str, str]]:
    """The URL without its userinfo, which would be logged with it, and the header that says the same."""
    try:
        url = httpx.URL(endpoint.base_url)
    except (httpx.InvalidURL, ValueError):
        raise ConfigError("api.base_url: found what is no URL; allowed: such as https://api.anthropic.com") from None
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 65536:
        raise ConfigError("api.base_url: allowed: http:// or https://, a host, and a port up to 65535")
    user = b64encode(f"{url.username}:{url.password}".encode()).decode()
    return url.copy_with(userinfo=b""), {"authorization": f"Basic {user}"} if url.userinfo else {}


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ConfigError(f"api.headers: found {name[:60]!r}; allowed: letters, digits and hyphens for a name")
        if not value.isascii() or not value.replace("\t", " ").isprintable():
            raise ConfigError(f"api.headers.{name}: holds characters that no header may carry")


async def _whole_body(response: httpx.Response) -> bytes:
    chunks, total = [], 0
    async for chunk in _stream(response):
        total += len(chunk)
        chunks.append(chunk)
        if total > MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)[:MAX_ANSWER_BYTES]


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise httpx.StreamError("a transport of an event loop answers in its own kind of stream")
    return response.stream


def _decoded(raw: bytes, encoding: str) -> bytes:
    """The body of a server that compresses though it was asked not to; as it came where that cannot be undone."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return raw
    for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            return zlib.decompressobj(wbits).decompress(raw, MAX_ANSWER_BYTES)
        except zlib.error:
            continue
    return raw


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return re.sub(r"\s*ssl:(<.*?>|default|True|False)", "", flat)[:300]
