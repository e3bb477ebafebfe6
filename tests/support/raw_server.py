"""A server on loopback that does just what a test says, byte by byte, and remembers what it was sent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self

__all__ = ["Connection", "RawServer", "replies", "response"]


class Connection:
    """One connection: what was read from it, and a way to answer."""

    def __init__(self, carrier: socket.socket, requests: list[bytes]) -> None:
        self._carrier = carrier
        self._stream: BinaryIO = carrier.makefile("rb")
        self._requests = requests

    def head(self) -> bytes:
        """Reads the head of a request; empty when the client has closed."""
        lines = []
        while (line := self._stream.readline()) not in (b"\r\n", b""):
            lines.append(line)
        self._requests.append(b"".join(lines))
        return self._requests[-1]

    def request(self) -> bytes:
        """Reads a whole request; empty when the client has closed."""
        head = self.head()
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length:")), 0
        )
        self._requests[-1] += self._stream.read(length)
        return self._requests[-1]

    def send(self, content: bytes) -> None:
        """Sends bytes as they are."""
        self._carrier.sendall(content)

    def close(self) -> None:
        """Closes in good order."""
        self._stream.close()
        self._carrier.close()


class RawServer:
    """Runs `serve` for every connection in a thread of its own; a context manager.

    Attributes:
        port: where it listens on 127.0.0.1.
        requests: what was read, in order of arrival.
        connections: how many were accepted, and came through TLS where it speaks that.
    """

    def __init__(self, serve: Callable[[Connection], None], tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """Its address for a client."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Starts it."""
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it; what is still open is closed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for carrier in self._open:
            with contextlib.suppress(OSError):
                carrier.shutdown(socket.SHUT_RDWR)
            carrier.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                carrier, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._one, args=(carrier,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, carrier: socket.socket) -> None:
        try:
            if self._tls is not None:
                carrier = self._tls.wrap_socket(carrier, server_side=True)
            self._open.append(carrier)
            self.connections += 1
            connection = Connection(carrier, self.requests)
            self._serve(connection)
            connection.close()
        except (OSError, ValueError):
            carrier.close()


def response(
    body: bytes, status: str = "200 OK", headers: dict[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """An HTTP/1.1 answer; `length` is what it claims where that is not the truth."""
    lines = {"content-length": str(len(body) if length is None else length), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def replies(*answers: bytes) -> Callable[[Connection], None]:
    """Answers the requests of each connection in turn, the last answer for all that follow."""

    def serve(connection: Connection) -> None:
        turn = 0
        while connection.request():
            connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return serve
