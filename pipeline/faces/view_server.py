"""`pipeline view` on a real socket, until SIGINT or SIGTERM."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from pipeline.exports.folders import Originals
from pipeline.faces.doorkeeper import Doorkeeper
from pipeline.faces.view import view_app
from pipeline.faces.watching import Watch
from pipeline.store.buckets import Place

__all__ = ["ViewSettings", "serve_view"]

_GRACE_S = 2


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What is served, where, and in whose name.

    Attributes:
        output: the dataset.
        originals: where its pictures are.
        reviewer: who decides, where the page does not say.
        fingerprint: whose answers; without one, the newest row's.
        port: 0 for any free one.
    """

    output: Place
    originals: Originals
    reviewer: str
    fingerprint: str | None = None
    host: str = "127.0.0.1"
    port: int = 0


class _Server(uvicorn.Server):
    """Takes SIGINT and SIGTERM as the wish to end well: it does not die of them afterwards."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Has both signals end the server while it runs."""
        before = {number: signal.signal(number, self._signalled) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.should_exit = True


def serve_view(settings: ViewSettings, announce: Callable[[str], None]) -> None:
    """Serves until it is told to end; `announce` is told the address, token included, once requests are taken.

    Raises:
        OSError: the address or port cannot be had.
    """
    with _listening(settings.host, settings.port) as carrier:
        address, port = carrier.getsockname()[:2]
        door = Doorkeeper(settings.host, port)
        watch = Watch(settings.output, settings.originals, settings.reviewer, settings.fingerprint)
        name = settings.output.resolve().name or str(settings.output)
        config = uvicorn.Config(
            view_app(watch, door, name),
            log_level="critical",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        announce(f"http://{_named(address)}:{port}/?token={door.token}")
        _Server(config).run(sockets=[carrier])


def _named(address: str) -> str:
    """How a browser on this machine reaches what listens on an address."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - read, not bound
    return f"[{local}]" if ":" in local else local


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    carrier = socket.socket(family, kind, protocol)
    try:
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        carrier.bind(place)
        carrier.listen()
    except OSError:
        carrier.close()
        raise
    return carrier
