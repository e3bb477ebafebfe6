"""A web server on loopback that answers with scripted bytes and counts connections, and diallers that lead to it."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpcore

__all__ = ["Detour", "Web", "reply", "resolving"]

Answer = bytes | Callable[[socket.socket, threading.Event], None]


def reply(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer that closes the connection; `_` in a header's name stands for `-`."""
    fields = {"content_length": str(len(body)), "connection": "close"} | headers
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def resolving(**hosts: str | list[str]) -> Callable[[str, int], Any]:
    """A resolver that knows these hosts, written with `_` for `.`."""
    table = {name.replace("_", "."): [at] if isinstance(at, str) else at for name, at in hosts.items()}

    async def resolver(host: str, port: int) -> list[str]:
        return table.get(host, [])

    return resolver


class Web:
    """Serves each path's answers in turn, the last one for ever; bytes, or what is called with the socket.

    Attributes:
        answers: by path; more may be added.
        connections: accepted so far.
        requests: heads of the requests, in order.
    """

    def __init__(self, answers: dict[str, Answer | list[Answer]], tls: ssl.SSLContext | None = None) -> None:
        self.answers = {path: list(given) if isinstance(given, list) else [given] for path, given in answers.items()}
        self._tls = tls
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0
        self.requests: list[bytes] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with suppress(OSError):  # it wakes the thread that accepts
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            self.connections += 1
            connection.settimeout(10)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            stream = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with stream:
                while head := self._head(stream):
                    self.requests.append(head)
                    answers = self.answers[head.split(b" ", 2)[1].decode().partition("?")[0]]
                    answer = answers.pop(0) if len(answers) > 1 else answers[0]
                    if not isinstance(answer, bytes):
                        answer(stream, self._over)
                        return
                    stream.sendall(answer)
                    if b"connection: keep-alive" not in answer:
                        return

    def _head(self, stream: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and (piece := stream.recv(65_536)):
            head += piece
        return head


class Detour(httpcore.AsyncNetworkBackend):
    """Notes every address that is dialled, leads those of `ports` to loopback, and counts the bytes that are read.

    Any other public address refuses the connection; loopback is really dialled, so that a server there sees it.
    """

    def __init__(self, ports: dict[str, int] | None = None) -> None:
        self._ports = ports or {}
        self._real = httpcore.AnyIOBackend()
        self.dialled: list[str] = []
        self.read_bytes = 0

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to loopback, for the addresses that lead there."""
        self.dialled.append(host)
        if host not in self._ports and not host.startswith("127."):
            raise httpcore.ConnectError("refused")
        stream = await self._real.connect_tcp(
            "127.0.0.1", self._ports.get(host, port), timeout, local_address, socket_options
        )
        return _Counted(stream, self)


class _Counted(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, detour: Detour) -> None:
        self._stream = stream
        self._detour = detour

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        piece = await self._stream.read(max_bytes, timeout)
        self._detour.read_bytes += len(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Counted(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._detour)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
