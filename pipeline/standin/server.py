"""The stand-in on a real socket: in the foreground for a command, in a thread for tests and the embedded endpoint."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

import uvicorn

from pipeline.standin.app import build_app
from pipeline.standin.options import StandinOptions
from pipeline.standin.service import Service

__all__ = ["StandinServer", "serve"]

_BACKLOG = 2048
_GRACE_S = 1.0
_FAREWELLS = 10


class _Server(uvicorn.Server):
    """Ends as soon as it is told to, where uvicorn looks every tenth of a second: tests start many of them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def stop(self) -> None:
        """Tells it to end; from any thread, and from a signal's handler."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Waits to be told; once a second the `date` header is brought up to date."""
        self._loop = asyncio.get_running_loop()
        seconds = 0
        while not await self.on_tick(10 * seconds):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1.0)
            seconds += 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes nothing new, gives what is in flight its grace, and cancels the rest."""
        for each in [*self.servers, *(sockets or ())]:
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for grace in (_GRACE_S, 0.1):
            if self.server_state.tasks:
                _, late = await asyncio.wait(self.server_state.tasks, timeout=grace)
                for task in late:
                    task.cancel()
        for _ in range(_FAREWELLS):
            await asyncio.sleep(0)  # lost connections take themselves off the list
            for connection in list(self.server_state.connections):
                connection.transport.abort()


class _Foreground(_Server):
    """A server that takes SIGINT and SIGTERM as the wish to end well: it does not die of them afterwards."""

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
        self.stop()


class StandinServer:
    """A stand-in in a thread of this process; a context manager.

    Attributes:
        url: where it listens.
        service: its state, for tests.

    Raises:
        OSError: the port is taken, or the log or certificate cannot be opened.
    """

    def __init__(self, options: StandinOptions | None = None) -> None:
        self.options = options or StandinOptions()
        self.service, config, self._socket = _prepared(self.options)
        self.url = _url(self.options, self._socket)
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="standin", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        """Starts it; requests are taken when this returns, since its socket listens already."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it and closes its log; a request in flight has a second to end."""
        self._server.stop()
        self._thread.join(timeout=10)
        self._socket.close()
        self.service.close()


def serve(options: StandinOptions) -> None:
    """Serves until SIGINT or SIGTERM; says where on standard error, and nothing else.

    Raises:
        OSError: the port is taken, or the log or certificate cannot be opened.
    """
    service, config, carrier = _prepared(options)
    try:
        sys.stderr.write(f"listening on {_url(options, carrier)}\n")
        sys.stderr.flush()
        _Foreground(config).run(sockets=[carrier])
    finally:
        carrier.close()
        service.close()


def _prepared(options: StandinOptions) -> tuple[Service, uvicorn.Config, socket.socket]:
    """Everything that can fail, before anything runs; nothing is left open if it does."""
    service = Service(options)
    try:
        return service, _config(service), _listen(options)
    except OSError:
        service.close()
        raise


def _config(service: Service) -> uvicorn.Config:
    config = uvicorn.Config(
        build_app(service),
        log_level="critical",
        access_log=False,
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=1 << 20,
        ssl_certfile=service.options.certfile,
        ssl_keyfile=service.options.keyfile,
    )
    config.load()  # a certificate that cannot be read is known before anything listens to no avail
    return config


def _listen(options: StandinOptions) -> socket.socket:
    """A listening socket. Its protocol is named, since asyncio sends without delay on such sockets alone.

    With Nagle's algorithm an answer's body would wait 40 ms for the acknowledgement of its headers.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    carrier = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        carrier.bind((options.host, options.port))
        carrier.listen(_BACKLOG)
    except OSError:
        carrier.close()
        raise
    return carrier


def _url(options: StandinOptions, carrier: socket.socket) -> str:
    scheme = "http" if options.certfile is None else "https"
    host, port = carrier.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
