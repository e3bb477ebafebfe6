"""A proxy before the S3 server that brings what object stores bring: "slow down", cut uploads, listings that lag."""

import re
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

__all__ = ["BadBucket"]

_CONTENTS = re.compile(rb"<Contents>.*?<Key>(.*?)</Key>.*?</Contents>", re.DOTALL)


class BadBucket:
    """Stands before a server on loopback; a context manager.

    Args:
        endpoint: the server's address.

    Attributes:
        url: where it listens.
        slow_down: so many of the next requests are answered with 503.
        cut: so many of the next uploads are cut off in their middle; nothing of them is stored.
        unheard: so many of the next uploads are stored, and their answers lost.
        lags: whether what is put from now on is missing from listings, until it is false again.
        puts: the keys of uploads that were stored, in order.
    """

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint)
        self.slow_down = self.cut = self.unheard = 0
        self.lags = False
        self.puts: list[str] = []
        self.hidden: set[str] = set()
        self.lock = threading.Lock()
        bucket = self

        class Handler(_Handler):
            bad = bucket

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Starts it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def takes(self, name: str) -> bool:
        """Whether one of the scripted faults is due; it is used up then."""
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bad: BadBucket

    def do_GET(self) -> None:
        """Downloads and listings."""
        self._pass()

    do_HEAD = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815 - the base class names them

    def _pass(self) -> None:
        bad, is_put = self.bad, self.command == "PUT"
        length = int(self.headers.get("content-length") or 0)
        if is_put and bad.takes("cut"):
            self.rfile.read(length // 2)
            self._drop()
            return
        body = self.rfile.read(length)
        if bad.takes("slow_down"):
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            self._answer(503, [("content-type", "application/xml")], b"" if self.command == "HEAD" else text)
            return
        status, headers, content = self._forwarded(body)
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        if is_put and status == 200:
            with bad.lock:
                bad.puts.append(key)
                if bad.lags:
                    bad.hidden.add(key)
            if bad.takes("unheard"):
                self._drop()
                return
        if "list-type=2" in self.path and bad.lags:
            content = _CONTENTS.sub(lambda found: b"" if found[1].decode() in bad.hidden else found[0], content)
        self._answer(status, headers, content)

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = HTTPConnection(f"{self.bad.upstream.hostname}", self.bad.upstream.port, timeout=30)
        try:
            kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, kept)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        told = {name.lower(): value for name, value in headers}
        length = told["content-length"] if self.command == "HEAD" and "content-length" in told else str(len(content))
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", length)
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
