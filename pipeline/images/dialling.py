"""Connections for image fetches: a host is resolved once, every address is judged, and a judged address is dialled.

The guard stands where the connection is made, below the HTTP pool: a name that changes its mind between two look-ups
gains nothing, and the pool still knows connections by their host name, so that TLS is checked against that name and no
connection serves another host at the same address.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import httpcore

from pipeline.images.addresses import is_public

__all__ = ["ForbiddenError", "GuardedBackend", "Resolver", "UnresolvedError", "is_bad_certificate", "resolve"]

CONNECT_S = 10.0
"""For one address: one that swallows packets leaves time for the next."""
_MAX_ADDRESSES = 4
_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

Resolver = Callable[[str, int], Awaitable[list[str]]]


class ForbiddenError(Exception):
    """A host leads to an address that may not be asked, alone or among others."""


class UnresolvedError(Exception):
    """A host name has no address.

    Attributes:
        passing: whether the resolver was at fault and may answer later; otherwise there is no such name.
    """

    def __init__(self, *, passing: bool) -> None:
        super().__init__("the host name does not resolve" if passing else "there is no such host")
        self.passing = passing


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Dials only addresses that may be asked.

    Args:
        resolver: how host names become addresses; called once for each connection.
        allow_private: whether loopback and private addresses may be asked.
        dialler: makes the connection to an address.
    """

    def __init__(
        self, resolver: Resolver, *, allow_private: bool, dialler: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._resolve = resolver
        self._allow_private = allow_private
        self._dialler = dialler or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that answers.

        Raises:
            ForbiddenError: one of the addresses may not be asked.
            UnresolvedError: there is no address.
        """
        failure: Exception = UnresolvedError(passing=False)
        for address in (await self._addresses(host, port))[:_MAX_ADDRESSES]:
            try:
                wait = CONNECT_S if timeout is None else min(timeout, CONNECT_S)
                return await self._dialler.connect_tcp(address, port, wait, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Waits; part of httpcore's interface."""
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except socket.gaierror as error:
            raise UnresolvedError(passing=error.errno not in _UNKNOWN) from error
        except OSError as error:
            raise UnresolvedError(passing=True) from error
        except UnicodeError as error:
            raise UnresolvedError(passing=False) from error
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise ForbiddenError
        return addresses


def is_bad_certificate(error: BaseException) -> bool:
    """Whether a connection failed because the server could not prove who it is: no retry mends that."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
