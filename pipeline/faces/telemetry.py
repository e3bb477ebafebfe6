"""`--otel`: a run as OpenTelemetry traces and metrics, sent by OTLP over HTTP; an extra, and off without the flag.

Where it is sent, with which headers and how much of it is for the SDK's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`, ...). One trace is
one run: the span of the run holds one for each item, that one for each request. What they are called and what they say
is in `conventions`: counts, times, ids and error types; prompts, captions, pictures and keys never.

Spans are made when what they tell of has ended and was written down, with the times that were measured then: telemetry
is told of a run and can neither hold it up nor fail it.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio

from pipeline.engines.job import LiveRun
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError, ErrorType
from pipeline.faces.conventions import (
    DURATION_BUCKETS_S,
    TOKEN_BUCKETS,
    Attributes,
    all_input,
    common_attributes,
    item_ended,
    item_named,
    request_attributes,
    request_ended,
    request_metric,
)
from pipeline.records import Attempt, Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Telemetry"]

logger = logging.getLogger(__name__)
_EXTRA = "--otel: needs the OpenTelemetry SDK; install the extra: pip install 'pipeline[otel]'"


class Telemetry:
    """One run's spans and metrics.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import opentelemetry.exporter.otlp.proto.http.metric_exporter  # noqa: PLC0415 - an extra
            import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401, PLC0415 - likewise
        except ImportError:
            raise ConfigError(_EXTRA) from None
        self._told: _Told | None = None

    async def view(self, live: LiveRun) -> None:
        """Watches a run until cancelled."""
        self._told = told = _Told(live)
        live.totals.watchers.append(told)
        try:
            await anyio.sleep_forever()
        finally:
            live.totals.watchers.remove(told)

    def close(self, summary: RunSummary) -> None:
        """Ends the run's span with what the run came to, and sends what is not sent yet.

        A collector that is out of reach is tried for `OTEL_EXPORTER_OTLP_TIMEOUT` (10 s), and logged.
        """
        if self._told is not None:
            self._told.close(summary)


class _Told:
    """What the watched run has told so far, on its way out."""

    def __init__(self, live: LiveRun) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        self._trace = trace
        self._providers = _providers()
        spans, meters = self._providers
        self._tracer = spans.get_tracer("pipeline", version("pipeline"))
        self._instruments = _Instruments(meters.get_meter("pipeline", version("pipeline")))
        self._common = common_attributes(live.plan.config)
        self._request = request_attributes(live.plan.config) | self._common
        about = {"pipeline.run_id": live.run_id, "pipeline.fingerprint": live.plan.fingerprint}
        self._run: Span = self._tracer.start_span("run", attributes=about)
        self._items: dict[str, Span] = {}

    def attempt_ended(self, attempt: Attempt) -> None:
        """One span below the item's, and the two metrics of the conventions."""
        start_ns = int(attempt.started_at.timestamp() * 1e9)
        item = self._items.get(attempt.item_id)
        if item is None:
            item = self._items[attempt.item_id] = self._item(attempt.item_id, start_ns)
        ended = request_ended(attempt)
        span = self._tracer.start_span(
            f"chat {self._common['gen_ai.request.model']}",
            self._trace.set_span_in_context(item),
            self._trace.SpanKind.CLIENT,
            self._request | ended,
            start_time=start_ns,
        )
        self._end(span, attempt.error_type, start_ns + int(attempt.duration_ms * 1e6))
        self._instruments.attempt_ended(attempt, self._common | request_metric(ended))

    def item_settled(self, outcome: Outcome) -> None:
        """The end of the item's span; of one that took no request, all of it."""
        now_ns, ended = time.time_ns(), item_ended(outcome)
        error_type = outcome.error.error_type if outcome.error is not None else None
        # the second row of an id has its own end, while the first may be in flight
        first = None if error_type == ErrorType.DUPLICATE_ID else self._items.pop(outcome.item.item_id, None)
        span = first or self._item(outcome.item.item_id, now_ns)
        span.set_attributes(ended)
        self._end(span, error_type, now_ns)
        self._instruments.item_settled({key: ended[key] for key in ("pipeline.outcome", "error.type") if key in ended})

    def close(self, summary: RunSummary) -> None:
        """Ends every span and sends them."""
        for span in self._items.values():
            span.set_attribute("pipeline.outcome", "pending")
            span.end()
        self._items.clear()
        self._run.set_attributes(
            {f"pipeline.items.{state}": count for state, count in summary.items.items()}
            | {"pipeline.exit_code": summary.exit_code, "pipeline.cost_usd": summary.cost_usd}
        )
        self._end(self._run, f"exit_{summary.exit_code}" if summary.exit_code else None, time.time_ns())
        with ThreadPoolExecutor(2, "telemetry") as threads:  # side by side: a collector may be out of reach for both
            ends = [threads.submit(provider.shutdown) for provider in self._providers]
        for error in filter(None, (end.exception() for end in ends)):
            logger.warning("--otel: the end was not sent: %s: %s", type(error).__name__, error)

    def _item(self, item_id: str, start_ns: int) -> "Span":
        context = self._trace.set_span_in_context(self._run)
        span: Span = self._tracer.start_span("item", context, attributes=item_named(item_id), start_time=start_ns)
        return span

    def _end(self, span: "Span", error_type: str | None, end_ns: int) -> None:
        """Of an error the type alone: messages may quote what was sent."""
        if error_type is not None:
            span.set_attribute("error.type", error_type)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end(end_ns)


class _Instruments:
    """The metrics: two of the conventions, and what a bill is watched by."""

    def __init__(self, meter: Any) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Input and output tokens",
            explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
        )
        self._items = meter.create_counter("pipeline.items", "{item}", "Items settled, by outcome")
        self._cost = meter.create_counter("pipeline.cost", "{USD}", "What the answers have cost")

    def attempt_ended(self, attempt: Attempt, about: Mapping[str, Any]) -> None:
        """A request."""
        self._duration.record(attempt.duration_ms / 1000, about)
        if attempt.answer is not None and attempt.usage is not None:
            for kind, count in (("input", all_input(attempt)), ("output", attempt.usage.output_tokens)):
                self._tokens.record(count, {**about, "gen_ai.token.type": kind})
        if attempt.cost_usd:
            self._cost.add(attempt.cost_usd, about)

    def item_settled(self, about: Attributes) -> None:
        """An item."""
        self._items.add(1, about)


def _providers() -> tuple[Any, Any]:
    """Of spans and of metrics: our own, whatever the process has set up besides; set up from the environment."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise

    resource = Resource.create({"service.version": version("pipeline")})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # the environment names none
        resource = resource.merge(Resource({"service.name": "pipeline"}))
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return spans, MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
