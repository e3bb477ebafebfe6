"""Images over http and https, guarded: what the manifest names is not to be trusted.

Connections are made by `dialling`, to addresses that were judged. Redirects are followed by hand, at most five, each
hop judged like the first. Nothing of the user goes along: no key, cookie, netrc entry, proxy setting or user name; the
plain connection pool below httpx, which is used here, knows none of them. Bytes are capped, and compressed bodies
refused, so that the cap holds on the wire and decoded; time is capped by a total deadline.
Query strings never appear in a message: they may be signatures.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import certifi
import httpcore
import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipeline.errors import ErrorType, ImageError
from pipeline.images.dialling import (
    ForbiddenError,
    GuardedBackend,
    Resolver,
    UnresolvedError,
    is_bad_certificate,
    resolve,
)
from pipeline.images.politeness import Hosts, retry_after_s

__all__ = ["FetchSettings", "Fetcher", "Resolver", "resolve", "shown"]

MAX_REDIRECTS = 5
MAX_RETRY_AFTER_S = 30.0
"""A server that asks for more is not asked again in this run."""
_HEADERS = (
    ("User-Agent", "pipeline-captioner/0.1 (image fetch)"),
    ("Accept", "image/*"),
    ("Accept-Encoding", "identity"),
)
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_NETWORK = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Limits of one fetch.

    Attributes:
        max_bytes: of the body.
        timeout_s: the total time of one attempt, redirects included; waiting for a place at the host is not counted.
        attempts: tries of one URL.
        per_host: fetches under way at one host.
        allow_private_hosts: whether loopback and private addresses may be asked.
    """

    max_bytes: int = 50_000_000
    timeout_s: float = 30.0
    attempts: int = 4
    per_host: int = 8
    allow_private_hosts: bool = False


def shown(url: str, longest: int = 300) -> str:
    """The URL as messages and the dataset may show it: without user, password, query and fragment."""
    try:
        parts = httpx.URL(url)
        path = parts.raw_path.partition(b"?")[0].decode("ascii")
        text = f"{parts.scheme}://{parts.netloc.decode('ascii')}{path}"
    except (httpx.InvalidURL, ValueError, TypeError):
        scheme, mark, rest = url.partition("://")
        place = rest.partition("?")[0].partition("#")[0].rpartition("@")[2]
        text = f"{scheme}{mark}{place}".encode("ascii", "backslashreplace").decode()
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


class Fetcher:
    """Fetches images for one run; an async context manager.

    Args:
        settings: the limits.
        resolver: how host names become addresses.
        verify: the TLS context; by default the system's and certifi's authorities.
        dialler: makes the connections, to addresses that were judged.
    """

    def __init__(
        self,
        settings: FetchSettings,
        resolver: Resolver = resolve,
        verify: ssl.SSLContext | None = None,
        dialler: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._settings = settings
        self._hosts = Hosts(settings.per_host)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or _authorities(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(resolver, allow_private=settings.allow_private_hosts, dialler=dialler),
        )

    async def __aenter__(self) -> Self:
        """Opens the connection pool."""
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every connection."""
        await self._pool.__aexit__(kind, error, trace)

    async def fetch(self, url: str) -> bytes:
        """The body behind a URL.

        Raises:
            ImageError: `image_refused` for addresses and schemes that are not allowed, `image_too_large`, else
                `image_fetch_failed`; retryable where the network or the server was at fault.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another),
            wait=_wait,
            stop=stop_after_attempt(self._settings.attempts),
            sleep=anyio.sleep,
            reraise=True,
        )
        body: bytes = await retrying(self._once, url)
        return body

    async def _once(self, url: str) -> bytes:
        here = _parsed(url, url)
        left = self._settings.timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            async with self._hosts.place(here.host):
                began = anyio.current_time()
                body, location = await self._hop(here, url, left)
                left -= anyio.current_time() - began
            if location is None:
                return body
            here = _redirected(here, location, url)
        raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    async def _hop(self, here: httpx.URL, first: str, left_s: float) -> tuple[bytes, str | None]:
        """One request: the body, or where it redirects to. Whatever goes wrong names the URL of the manifest."""
        try:
            with anyio.fail_after(max(left_s, 0.0)):
                async with self._answer(here) as response:
                    headers = {name.lower(): value for name, value in response.headers}
                    if response.status in _REDIRECTS and b"location" in headers:
                        return b"", headers[b"location"].decode("latin-1")
                    if response.status != 200:
                        raise _StatusError(first, response.status, headers.get(b"retry-after", b"").decode("latin-1"))
                    return await self._body(first, response, headers), None
        except ForbiddenError:
            text = f"{shown(first)}: leads to a private, loopback or reserved address"
            remedy = "images.allow_private_hosts = true allows that"
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{text}; {remedy}") from None
        except UnresolvedError as error:
            raise _failed(first, str(error), retryable=error.passing) from error
        except TimeoutError:
            raise _failed(first, f"not fetched within {self._settings.timeout_s:g} s", retryable=True) from None
        except _NETWORK as error:
            if is_bad_certificate(error):
                raise _failed(first, "the server's certificate is not valid for it", retryable=False) from error
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise _failed(first, reason, retryable=True) from error

    @asynccontextmanager
    async def _answer(self, url: httpx.URL) -> AsyncIterator[httpcore.Response]:
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [("Host", url.netloc.decode("ascii")), *_HEADERS]
        async with self._pool.stream("GET", target, headers=headers) as response:
            yield response

    async def _body(self, url: str, response: httpcore.Response, headers: dict[bytes, bytes]) -> bytes:
        cap = self._settings.max_bytes
        too_large = ImageError(ErrorType.IMAGE_TOO_LARGE, f"{shown(url)}: more than images.max_bytes ({cap})")
        if headers.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity"):
            raise _failed(url, "compressed, though none was asked for", retryable=False)
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > cap:
            raise too_large
        body = bytearray()
        async for chunk in response.aiter_stream():
            if len(body) + len(chunk) > cap:
                raise too_large
            body += chunk
        return bytes(body)


class _StatusError(ImageError):
    """The server answered with something else than an image; `wait_s` is what it asked for."""

    def __init__(self, url: str, status: int, retry_after: str) -> None:
        super().__init__(
            ErrorType.IMAGE_FETCH_FAILED,
            f"{shown(url)}: HTTP status {status}",
            retryable=status in _PASSING,
            http_status=status,
        )
        self.wait_s = retry_after_s(retry_after)


def _authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _parsed(url: str, first: str) -> httpx.URL:
    """A URL that may be asked; refusals name the URL of the manifest that led here."""
    try:
        parsed = httpx.URL(url)
        port = parsed.port
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: not a valid URL") from None
    if parsed.scheme not in ("http", "https"):
        text = f"{shown(first)}: leads to a {parsed.scheme}: URL; allowed: http, https"
        raise ImageError(ErrorType.IMAGE_REFUSED, text)
    if not parsed.host or (port is not None and not 0 < port < 65_536):
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: names no host, or an impossible port")
    if parsed.userinfo:
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: holds a user name or password; none is sent")
    return parsed


def _redirected(here: httpx.URL, location: str, first: str) -> httpx.URL:
    try:
        target = str(here.join(location))
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: redirects to what is no valid URL") from None
    following = _parsed(target, first)
    if here.scheme == "https" and following.scheme == "http":
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: redirects from https to http")
    return following


def _failed(url: str, reason: str, *, retryable: bool) -> ImageError:
    return ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{shown(url)}: {reason}", retryable=retryable)


def _worth_another(error: BaseException) -> bool:
    if isinstance(error, _StatusError) and (error.wait_s or 0.0) > MAX_RETRY_AFTER_S:
        return False
    return isinstance(error, ImageError) and error.retryable


def _wait(state: RetryCallState) -> float:
    """What the server asked for, else full jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _StatusError) and error.wait_s is not None:
        return error.wait_s
    return wait_random_exponential(0.25, 8)(state)
