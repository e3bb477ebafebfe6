"""The HTTP session with the service: one door for httpx, and the translation of its errors.

httpx's own transport costs four times the CPU of aiohttp's under the same interface for requests of 200 KB (see
`benchmarks/bench_transport.py`), so that is what carries requests. Redirects are not followed: the key goes nowhere
else. No proxy, netrc or certificate setting of the environment is read but what TLS verification needs.
"""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

__all__ = ["MAX_ANSWER_BYTES", "Endpoint", "Reply", "Session", "Unanswered", "open_session"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
CONNECT_S = 10.0
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and what goes with each of them; the key never shows in a repr.

    Attributes:
        base_url: without `/v1`.
        headers: authentication, version, content type and the user's own.
        timeout_s: the total time of one attempt.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body arrived whole.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: decoded.
        elapsed_ms: from the first byte sent to the last received.
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
        self.error_type = error_type
        self.sent = sent


class Session:
    """Sends bodies to one endpoint; made by `open_session`."""

    def __init__(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint

    async def post(self, path: str, body: bytes) -> Reply:
        """Sends a body and waits for the whole answer.

        Raises:
            Unanswered: no whole answer came within the deadline.
        """
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> Reply:
        """Asks for a resource.

        Raises:
            Unanswered: as `post`.
        """
        return await self._ask("GET", path, None)

    async def _ask(self, method: str, path: str, body: bytes | None) -> Reply:
        started = time.monotonic()
        try:
            with anyio.fail_after(self._endpoint.timeout_s):
                async with self._client.stream(method, path, content=body) as response:
                    content = await _whole_body(response)
        except TimeoutError:
            text = f"no answer within {self._endpoint.timeout_s:g} s"
            raise Unanswered("timeout", text, sent=True) from None
        except httpx.TimeoutException as error:
            raise Unanswered("timeout", _reason(error), sent=not isinstance(error, _UNSENT)) from error
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError, OSError, aiohttp.ClientError) as error:
            raise Unanswered("connection_error", _reason(error), sent=not isinstance(error, _UNSENT)) from error
        elapsed = (time.monotonic() - started) * 1000
        return Reply(response.status_code, dict(response.headers), content, elapsed)


async def _whole_body(response: httpx.Response) -> bytes:
    chunks, total = [], 0
    async for chunk in response.aiter_bytes():
        total += len(chunk)
        if total > MAX_ANSWER_BYTES:
            break
        chunks.append(chunk)
    return b"".join(chunks)


@asynccontextmanager
async def open_session(endpoint: Endpoint, connections: int) -> AsyncIterator[Session]:
    """A session with a pool of so many connections."""
    limits = aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60)
    async with (
        aiohttp.ClientSession(
            connector=limits, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as carrier,
        httpx.AsyncClient(
            base_url=endpoint.base_url,
            headers={**endpoint.headers, "accept-encoding": "identity"},
            transport=AiohttpTransport(client=carrier, trust_env=False),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
        ) as client,
    ):
        yield Session(client, endpoint)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return re.sub(r"\s*ssl:<.*?>", "", text)[:300] or type(error).__name__
