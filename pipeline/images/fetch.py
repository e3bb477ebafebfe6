"""Images over http and https, guarded: what the manifest names is not to be trusted.

Each hop is resolved once, every resolved address must be public, and the connection goes to the very address that was
checked (the host name stays in `Host` and in the TLS handshake), so a name that changes its mind between the two
look-ups gains nothing. Redirects are followed by hand, at most five. Nothing of the user goes along: no key, cookie,
netrc entry, proxy setting or user name. Bytes are capped on the wire and after decoding, time by a total deadline.
Query strings never appear in a message: they may be signatures.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import anyio
import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipeline.errors import ErrorType, ImageError
from pipeline.images.addresses import is_public

__all__ = ["FetchSettings", "Fetcher", "Resolver", "resolve", "shown"]

MAX_REDIRECTS = 5
MAX_RETRY_AFTER_S = 30.0
_USER_AGENT = "pipeline-captioner/0.1 (image fetch)"
_PASSING = {408, 425, 429, 500, 502, 503, 504}

Resolver = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Limits of one fetch.

    Attributes:
        max_bytes: of the body, on the wire and decoded.
        timeout_s: the total time of one attempt, redirects included.
        attempts: tries of one URL.
        per_host: fetches under way at one host.
        allow_private_hosts: whether loopback and private addresses may be asked.
    """

    max_bytes: int = 50_000_000
    timeout_s: float = 30.0
    attempts: int = 4
    per_host: int = 8
    allow_private_hosts: bool = False


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def shown(url: str) -> str:
    """The URL as messages may show it: without user, password, query and fragment."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return url.partition("?")[0][:200]
    text = f"{parts.scheme}://{parts.host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return text if len(text) <= 300 else f"{text[:297]}..."


class Fetcher:
    """Fetches images for one run; an async context manager.

    Args:
        settings: the limits.
        resolver: how host names become addresses.
        verify: the TLS context; by default the system's and certifi's authorities.
    """

    def __init__(
        self, settings: FetchSettings, resolver: Resolver = resolve, verify: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings
        self._resolve = resolver
        self._client = httpx.AsyncClient(
            verify=verify or True,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(settings.timeout_s),
            headers={"user-agent": _USER_AGENT, "accept": "image/*", "accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        )
        self._hosts: dict[str, anyio.CapacityLimiter] = {}

    async def __aenter__(self) -> Self:
        """Opens the connection pool."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every connection."""
        await self._client.__aexit__(kind, error, trace)

    async def fetch(self, url: str) -> bytes:
        """The body behind a URL.

        Raises:
            ImageError: `image_refused` for addresses and schemes that are not allowed, `image_too_large`, else
                `image_fetch_failed`; retryable where the network or the server was at fault.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_passing),
            wait=_wait,
            stop=stop_after_attempt(self._settings.attempts),
            sleep=anyio.sleep,
            reraise=True,
        )
        body: bytes = await retrying(self._once, url)
        return body

    async def _once(self, url: str) -> bytes:
        try:
            with anyio.fail_after(self._settings.timeout_s):
                return await self._follow(url)
        except TimeoutError:
            text = f"{shown(url)}: not fetched within {self._settings.timeout_s:g} s"
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, text, retryable=True) from None
        except (httpx.TransportError, OSError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{shown(url)}: {reason}", retryable=True) from None

    async def _follow(self, url: str) -> bytes:
        here = self._parsed(url, url)
        for _ in range(MAX_REDIRECTS + 1):
            limiter = self._hosts.setdefault(here.host, anyio.CapacityLimiter(self._settings.per_host))
            async with limiter:
                body, location = await self._hop(here)
            if location is None:
                return body
            following = self._parsed(str(here.join(location)), url)
            if here.scheme == "https" and following.scheme == "http":
                raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(url)}: redirects from https to http")
            here = following
        raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _parsed(self, url: str, first: str) -> httpx.URL:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: not a valid URL") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ImageError(
                ErrorType.IMAGE_REFUSED, f"{shown(first)}: leads to a {parsed.scheme}: URL; allowed: http, https"
            )
        if parsed.userinfo:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{shown(first)}: holds a user name or password; none is sent")
        return parsed

    async def _hop(self, url: httpx.URL) -> tuple[bytes, str | None]:
        """One request to a checked address: the body, or where it redirects to."""
        address = await self._checked_address(url)
        literal = f"[{address}]" if ":" in address else address
        request = self._client.build_request(
            "GET",
            url.copy_with(host=literal),
            headers={"host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        self._client.cookies.clear()
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code in (301, 302, 303, 307, 308) and "location" in response.headers:
                return b"", response.headers["location"]
            if response.status_code != 200:
                raise _refused(str(url), response)
            return await self._body(url, response), None
        finally:
            await response.aclose()

    async def _checked_address(self, url: httpx.URL) -> str:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(url.host, port)
        except (OSError, UnicodeError) as error:
            text = f"{shown(str(url))}: the host name does not resolve"
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, text, retryable=True) from error
        if not self._settings.allow_private_hosts:
            private = [address for address in addresses if not is_public(address)]
            if private or not addresses:
                raise ImageError(
                    ErrorType.IMAGE_REFUSED,
                    f"{shown(str(url))}: leads to a private, loopback or reserved address; "
                    "images.allow_private_hosts = true allows that",
                )
        return addresses[0]

    async def _body(self, url: httpx.URL, response: httpx.Response) -> bytes:
        cap = self._settings.max_bytes
        too_large = ImageError(ErrorType.IMAGE_TOO_LARGE, f"{shown(str(url))}: more than images.max_bytes ({cap})")
        if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{shown(str(url))}: compressed, though none was asked for")
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > cap:
            raise too_large
        chunks, total = [], 0
        async for chunk in response.aiter_raw(65_536):
            total += len(chunk)
            if total > cap:
                raise too_large
            chunks.append(chunk)
        return b"".join(chunks)


def _refused(url: str, response: httpx.Response) -> ImageError:
    status = response.status_code
    error = ImageError(
        ErrorType.IMAGE_FETCH_FAILED,
        f"{shown(url)}: HTTP status {status}",
        retryable=status in _PASSING,
        http_status=status,
    )
    error.wait_s = _retry_after(response.headers.get("retry-after"))  # type: ignore[attr-defined]
    return error


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, ImageError) and error.retryable


def _wait(state: RetryCallState) -> float:
    """What the server asked for, up to a cap, else full jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "wait_s", None)
    return min(asked, MAX_RETRY_AFTER_S) if asked is not None else wait_random_exponential(0.25, 8)(state)


def _retry_after(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
