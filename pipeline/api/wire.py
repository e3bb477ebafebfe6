"""aiohttp's connections under httpx's interface: what carries a request, and the translation of its errors.

httpx's own transport takes three times the CPU for a request of 200 KB with 32 in flight, and twenty times with 256;
httpx-aiohttp's bridge twice that of this one (`benchmarks/bench_transport.py`). Nothing is followed, decoded, retried
or remembered here: one request, one answer, its body as it came.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator

import aiohttp
import anyio
import httpx

__all__ = ["CertificateError", "Wire"]

CONNECT_S = 10.0
_CLOSE_S = 1.0
_PIECE_BYTES = 512 * 1024
"""A larger body goes out in pieces: written at once it would hold up every other request."""


class CertificateError(httpx.ConnectError):
    """The server's certificate cannot be trusted; nothing was sent."""


class Wire(httpx.AsyncBaseTransport):
    """A pool of connections.

    Args:
        connections: at most so many.
        tls: how certificates are verified.
    """

    def __init__(self, connections: int, tls: ssl.SSLContext) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request; the answer's body is still to be read, and to be closed.

        Raises:
            CertificateError: the server's certificate cannot be trusted.
            httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol: the request never left.
            httpx.TransportError: no answer came.
        """
        headers = [
            (name.decode("ascii"), value.decode("ascii"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # aiohttp's to say
        ]
        with _translated(request):
            answer = await self._session.request(
                request.method,
                str(request.url),
                headers=headers,
                data=_content(request),
                allow_redirects=False,
            )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer, request), request=request)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """An answer's body, as it comes from the wire."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated(self._request):
            async for piece in self._answer.content.iter_any():
                yield piece

    async def aclose(self) -> None:
        if self._answer.connection is None:
            return  # it was read to its end, and its connection serves others already
        # An answer that is here is not given up because the run ends while its connection is put away.
        with anyio.move_on_after(_CLOSE_S, shield=True), contextlib.suppress(aiohttp.ClientError, OSError):
            self._answer.release()
            await self._answer.wait_for_close()


def _content(request: httpx.Request) -> bytes | AsyncIterator[bytes] | None:
    try:
        content = request.content
    except httpx.RequestNotRead:
        return aiter(request.stream) if isinstance(request.stream, httpx.AsyncByteStream) else None
    return _pieces(content) if len(content) > _PIECE_BYTES else content or None


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


@contextlib.contextmanager
def _translated(request: httpx.Request) -> Iterator[None]:
    """Raises the most specific of httpx's errors for one of aiohttp's."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise CertificateError(str(error.certificate_error), request=request) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error), request=request) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error), request=request) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise httpx.UnsupportedProtocol(str(error), request=request) from error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout(str(error), request=request) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(str(error) or type(error).__name__, request=request) from error
