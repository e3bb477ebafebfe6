"""The HTTP session with the service: one door for httpx, and the translation of its errors.

aiohttp's transport under httpx's interface carries the requests: for one of 200 KB it takes a third of the CPU of
httpx's own with 32 in flight, and a twentieth with 256 (`benchmarks/bench_transport.py`). Redirects are not followed:
the key goes nowhere else. Certificates are always verified, against the bundle that ships with certifi, or that of
`SSL_CERT_FILE` or `SSL_CERT_DIR` for a private authority; no proxy or netrc setting is read. Whatever the service says,
the key is masked in it before anybody else sees it.
"""

import re
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import unquote

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.errors import ConfigError, ErrorType, RunStoppedError

__all__ = ["MAX_ANSWER_BYTES", "Endpoint", "Reply", "Session", "Unanswered", "open_session"]

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Some thirty times what 128,000 output tokens take; with 256 requests in flight a bound on memory too."""
CONNECT_S = 10.0
_CLOSE_S = 1.0
_PIECE_BYTES = 512 * 1024
"""A larger body goes out in pieces: written at once it would hold up every other request."""
_SECRET_WORDS = ("key", "auth", "token", "secret", "cookie", "password", "credential", "signature")
_SHORTEST_SECRET = 12
"""Shorter ones, such as the `ollama` that some servers want for a key, may be words of a caption."""
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)
_UNSENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


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
    """Sends bodies to one endpoint; made by `open_session`."""

    def __init__(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        self._client = client
        self._timeout_s = endpoint.timeout_s
        self._secrets = endpoint.secrets

    async def post(self, path: str, body: bytes, *, content_type: str | None = None) -> Reply:
        """Sends a body, of another type than JSON where given, and waits for the whole answer.

        Raises:
            Unanswered: no whole answer came within the deadline.
            RunStoppedError: the server's certificate cannot be trusted; nothing was sent.
        """
        return await self._ask("POST", path, body, {"content-type": content_type} if content_type else {})

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

    async def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Reply:
        started = time.monotonic()
        with anyio.move_on_after(self._timeout_s):
            try:
                response, raw = await self._exchange(method, path, body, dict(headers or {}))
            except _FAILURES as error:
                raise self._translated(error) from error
            content = _decoded(raw, response.headers.get("content-encoding", ""))
            said = {name: self._masked(value) for name, value in response.headers.items()}
            for secret in self._secrets:
                content = content.replace(secret.encode(), b"***")
            return Reply(response.status_code, said, content, (time.monotonic() - started) * 1000)
        raise Unanswered(ErrorType.TIMEOUT, f"no whole answer within {self._timeout_s:g} s", sent=True)

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[httpx.Response, bytes]:
        content: bytes | AsyncIterator[bytes] | None = body
        if body is not None and len(body) > _PIECE_BYTES:
            headers = {**headers, "content-length": str(len(body))}
            content = _pieces(body)
        request = self._client.build_request(method, path, content=content, headers=headers)
        response = await self._client.send(request, stream=True)
        try:
            return response, await _whole_body(response)
        finally:
            # An answer that is here is not given up because the run ends while its connection is put away.
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await response.aclose()

    def _translated(self, error: Exception) -> Unanswered | RunStoppedError:
        """Our error for one of the lower libraries; by aiohttp's own, as its bridge calls a reset a timeout."""
        cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError | OSError) else error
        if isinstance(cause, aiohttp.ClientConnectorCertificateError):
            problem = self._masked(_line(str(cause.certificate_error)))
            return RunStoppedError(
                f"{self._client.base_url.host}: its certificate cannot be trusted, so nothing was sent: {problem}; "
                "check api.base_url and the clock, or name a private authority's bundle in SSL_CERT_FILE"
            )
        is_timeout = isinstance(cause, aiohttp.ServerTimeoutError | httpx.TimeoutException)
        kind = ErrorType.TIMEOUT if is_timeout else ErrorType.CONNECTION_ERROR
        reason = self._masked(_line(str(cause))) or type(cause).__name__
        return Unanswered(kind, reason, sent=not isinstance(cause, _UNSENT))

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
    tls = httpx.create_ssl_context()
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, ssl=tls),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as carrier,
        httpx.AsyncClient(
            base_url=url,
            auth=auth,
            headers={**endpoint.headers, "accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=AiohttpTransport(verify=tls, client=carrier, trust_env=False),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
        ) as client,
    ):
        yield Session(client, endpoint)


def _address(endpoint: Endpoint) -> tuple[httpx.URL, tuple[str, str] | None]:
    """The URL without its userinfo, which would be logged with it, and the userinfo."""
    try:
        url = httpx.URL(endpoint.base_url)
    except (httpx.InvalidURL, ValueError):
        raise ConfigError("api.base_url: found what is no URL; allowed: such as https://api.anthropic.com") from None
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 65536:
        raise ConfigError("api.base_url: allowed: http:// or https://, a host, and a port up to 65535")
    return url.copy_with(userinfo=b""), (url.username, url.password) if url.userinfo else None


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ConfigError(f"api.headers: found {name[:60]!r}; allowed: letters, digits and hyphens for a name")
        if not value.isascii() or not value.replace("\t", " ").isprintable():
            raise ConfigError(f"api.headers.{name}: holds characters that no header may carry")


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


async def _whole_body(response: httpx.Response) -> bytes:
    chunks, total = [], 0
    async for chunk in response.aiter_raw():
        total += len(chunk)
        chunks.append(chunk)
        if total > MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)[:MAX_ANSWER_BYTES]


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
