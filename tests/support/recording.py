"""A server between the program and a stand-in that keeps every body as it passes."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["Recording"]

_PASSED_ON = ("x-api-key", "authorization", "anthropic-version", "anthropic-beta", "content-type")


class Recording:
    """Passes requests on to another server; a context manager.

    Attributes:
        url: where it listens.
        bodies: of `POST /v1/messages`, read, in order.
    """

    def __init__(self, behind: str) -> None:
        self.bodies: list[dict[str, Any]] = []
        recording = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/messages":
                    recording.bodies.append(json.loads(body))
                headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
                answer = recording.client.post(behind + self.path, content=body, headers=headers)
                self.send_response(answer.status_code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.client = httpx.Client(timeout=30, verify=False)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
        self.client.close()
