"""An OTLP collector on loopback: takes traces and metrics over HTTP and keeps them, read with the protocol's types."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "attributes"]


class Collector:
    """Keeps what is sent to it.

    Attributes:
        url: for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        received: path, headers and body of every request, in order.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def spans(self) -> list[Any]:
        """Every span, as the protocol has it."""
        sent = [ExportTraceServiceRequest.FromString(body) for path, _, body in self.received if path == "/v1/traces"]
        resources = [resource for request in sent for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def resource(self) -> dict[str, Any]:
        """Attributes of what sent the first spans."""
        body = next(body for path, _, body in self.received if path == "/v1/traces")
        return attributes(ExportTraceServiceRequest.FromString(body).resource_spans[0].resource)

    def metrics(self) -> dict[str, Any]:
        """Every metric by its name, as it was sent last."""
        found = {}
        for path, _, body in self.received:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    found |= {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return found


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a span, a data point or a resource as plain values."""
    return {each.key: _plain(each.value) for each in holder.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)
