"""The stand-in on a real socket: in the foreground for a command, in a thread for tests and the embedded endpoint."""

import socket
import sys
import threading
from types import TracebackType
from typing import Self

import uvicorn

from pipeline.standin.app import Service, build_app
from pipeline.standin.options import StandinOptions

__all__ = ["StandinServer", "serve"]


def _config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(service),
        log_level="critical",
        access_log=False,
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=1 << 20,
    )


def _listen(options: StandinOptions) -> socket.socket:
    carrier = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    carrier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    carrier.bind((options.host, options.port))
    carrier.listen(2048)
    return carrier


class StandinServer:
    """A stand-in in a thread of this process; a context manager.

    Attributes:
        url: where it listens.
        service: its state, for tests.
    """

    def __init__(self, options: StandinOptions | None = None) -> None:
        self.options = options or StandinOptions()
        self.service = Service(self.options)
        self._socket = _listen(self.options)
        self.url = "http://{}:{}".format(*self._socket.getsockname()[:2])
        self._server = uvicorn.Server(_config(self.service))
        self._thread = threading.Thread(target=self._run, name="standin", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        """Starts it; it answers when this returns, since its socket listens already."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it and closes its log."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()
        self.service.log.close()


def serve(options: StandinOptions) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
        OSError: the port is taken.
    """
    service = Service(options)
    carrier = _listen(options)
    host, port = carrier.getsockname()[:2]
    sys.stderr.write(f"listening on http://{host}:{port}\n")
    sys.stderr.flush()
    try:
        uvicorn.Server(_config(service)).run(sockets=[carrier])
    finally:
        carrier.close()
        service.log.close()
