"""Runs told to an OTLP collector on loopback: the tree of spans, the metrics, and what is never told."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.collectors import Collector, attributes
from support.jobs import CANARY, Job, environment, make_job
from support.running import plan_of

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.summary import RunSummary
from pipeline.faces.telemetry import Telemetry
from pipeline.standin.server import StandinServer

pytestmark = pytest.mark.anyio
StartStandin = Callable[..., StandinServer]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the standard variable names."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


async def told(job: Job, *overrides: str) -> RunSummary:
    """A run that is told to the collector."""
    telemetry = Telemetry()
    summary = await run_job(plan_of(job, *overrides), RunOptions(signals=False), telemetry.view)
    telemetry.close(summary)
    return summary


def named(spans: list[Any], name: str) -> list[Any]:
    """The spans of a name."""
    return [span for span in spans if span.name == name]


async def test_a_run_holds_its_items_and_they_their_requests(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """One trace; each span lies within the one above it, with the attributes of the conventions."""
    server = start_standin("429:first=1")
    job = make_job(tmp_path, server.url, images=2)
    job.add_rows(["lost", "lost.jpg", "Lost"])
    summary = await told(job)
    spans = collector.spans()
    (run,), items, requests = named(spans, "run"), named(spans, "item"), named(spans, "chat claude-haiku-4-5")
    assert (len(items), len(requests), len(spans)) == (3, 3, 7)
    assert {span.trace_id for span in spans} == {run.trace_id}
    assert {span.parent_span_id for span in items} == {run.span_id}
    above = {span.span_id: span for span in spans}
    for span in (*items, *requests):
        parent = above[span.parent_span_id]
        assert parent.start_time_unix_nano <= span.start_time_unix_nano + 1_000_000
        assert span.end_time_unix_nano <= parent.end_time_unix_nano + 1_000_000
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert {attributes(span)["pipeline.run_id"] for span in named(spans, "run")} == {summary.run_id}
    said = {attributes(span)["pipeline.item_id"]: attributes(span) for span in items}
    assert {item: each["pipeline.outcome"] for item, each in said.items()} == {
        "item-000": "succeeded",
        "item-001": "succeeded",
        "lost": "failed",
    }
    assert said["lost"]["error.type"] == "image_missing"


async def test_a_request_says_what_the_conventions_ask_of_it(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """Model, tokens, ids and place of an answer; of a refusal its type, which is an error's status too."""
    server = start_standin("429:first=1")
    await told(make_job(tmp_path, server.url, images=1))
    refused, answered = sorted(
        named(collector.spans(), "chat claude-haiku-4-5"), key=lambda one: one.end_time_unix_nano
    )
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-haiku-4-5",
        "gen_ai.request.max_tokens": 300,
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "pipeline.item_id": "item-000",
        "pipeline.turn": 1,
        "pipeline.mode": "messages",
    }
    said, bad = attributes(answered), attributes(refused)
    assert common.items() <= said.items()
    assert common.items() <= bad.items()
    assert (bad["http.response.status_code"], bad["error.type"], refused.status.code) == (429, "rate_limit_error", 2)
    assert (said["pipeline.attempt"], said["http.response.status_code"], answered.status.code) == (2, 200, 0)
    assert said["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert said["gen_ai.response.model"].startswith("claude-haiku-4-5-20251001")
    assert said["gen_ai.response.id"].startswith("msg_")
    assert said["pipeline.request_id"].startswith("req_")
    assert said["gen_ai.usage.input_tokens"] > 0
    assert "gen_ai.usage.input_tokens" not in bad
    assert answered.kind == 3  # a client's


async def test_the_metrics_agree_with_the_run_s_own_account(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """Requests, tokens, dollars and items, with the conventions' units and buckets."""
    server = start_standin("529:first=2")
    job = make_job(tmp_path, server.url, images=4)
    job.add_rows(["lost", "lost.jpg", "Lost"])
    summary = await told(job)
    metrics = collector.metrics()
    duration = metrics["gen_ai.client.operation.duration"]
    points = {attributes(point).get("error.type"): point for point in duration.histogram.data_points}
    assert {error: point.count for error, point in points.items()} == {None: 4, "overloaded_error": 2}
    assert (duration.unit, list(points[None].explicit_bounds)[:3]) == ("s", [0.01, 0.02, 0.04])
    tokens = metrics["gen_ai.client.token.usage"]
    used = {attributes(point)["gen_ai.token.type"]: point for point in tokens.histogram.data_points}
    assert {kind: point.sum for kind, point in used.items()} == {
        "input": summary.usage["input_tokens"],
        "output": summary.usage["output_tokens"],
    }
    assert tokens.unit == "{token}"
    assert "pipeline.item_id" not in attributes(used["input"]), "a metric has few values of each attribute"
    counted = {attributes(point)["pipeline.outcome"]: point for point in metrics["pipeline.items"].sum.data_points}
    assert {ended: point.as_int for ended, point in counted.items()} == {"succeeded": 4, "failed": 1}
    cost = sum(point.as_double for point in metrics["pipeline.cost"].sum.data_points)
    assert cost == pytest.approx(summary.cost_usd)


async def test_nothing_of_prompts_captions_and_keys_is_told(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """Not a word of them is in any byte that was sent, and of an id that is a URL not its signature."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2, settings={"prompt": {"system": "Secretive system."}})
    job.add_rows(["https://host.example/a.jpg?X-Amz-Signature=5ec7e7", "item-000.jpg", "Signed"])
    await told(job, "prompt.prefill=Prefilled")
    sent = b"".join(body + str(headers).encode() for _, headers, body in collector.received)
    for word in (CANARY, "Describe", "Picture 1", "Secretive", "Prefilled", "picture; mostly", "5ec7e7", str(tmp_path)):
        assert word.encode() not in sent, word
    assert b"https://host.example/a.jpg?***" in sent


async def test_copied_and_doubled_items_have_spans_of_their_own(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """They took no request; each is told once."""
    server = start_standin(latency_s=(0.2, 0.2))
    job = make_job(tmp_path, server.url, images=1)
    job.add_rows(["copy", "item-000.jpg", "Picture 0"], ["item-000", "other.jpg", "Picture 0"])
    summary = await told(job)
    ends = [attributes(span) for span in named(collector.spans(), "item")]
    assert sorted(each["pipeline.item_id"] for each in ends) == ["copy", "item-000", "item-000"]
    assert sorted(each["pipeline.outcome"] for each in ends) == ["failed", "reused", "succeeded"]
    assert summary.requests["sent"] == len(named(collector.spans(), "chat claude-haiku-4-5")) == 1


async def test_items_that_are_left_open_are_told_as_pending(
    tmp_path: Path, start_standin: StartStandin, collector: Collector
) -> None:
    """A run that a refused key ends says so, with its exit code."""
    server = start_standin(keys=frozenset({"another"}))
    summary = await told(make_job(tmp_path, server.url, images=1))
    (run,), (item,) = named(collector.spans(), "run"), named(collector.spans(), "item")
    assert (summary.exit_code, attributes(item)["pipeline.outcome"]) == (3, "pending")
    assert (attributes(run)["pipeline.exit_code"], attributes(run)["error.type"], run.status.code) == (3, "exit_3", 2)
    assert attributes(run)["pipeline.items.pending"] == 1


async def test_the_sdk_s_own_variables_hold(
    tmp_path: Path, start_standin: StartStandin, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers, the service's name, the sampler, and the switch that turns everything off."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=archive")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly captions")
    job = make_job(tmp_path, start_standin().url, images=1)
    await told(job)
    assert collector.received[0][1]["x-tenant"] == "archive"
    assert collector.resource()["service.name"] == "nightly captions"
    collector.received.clear()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    await told(job)
    assert not collector.spans()
    collector.received.clear()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    await told(job)
    assert not collector.received


async def test_a_collector_out_of_reach_costs_the_run_nothing_but_a_line(
    tmp_path: Path, start_standin: StartStandin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answers are in the dataset, and the log says what was not sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    summary = await told(make_job(tmp_path, start_standin().url, images=2))
    assert (summary.exit_code, summary.items["succeeded"]) == (0, 2)
    assert "Failed to export" in caplog.text


def in_a_process(script: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    words = [sys.executable, "-c", dedent(script)]
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)


async def test_without_the_flag_nothing_of_it_is_loaded() -> None:
    """The library costs a run that does not want it nothing."""
    said = in_a_process("""
        import sys, pipeline.commands.running
        print(any(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
    """)
    assert said.stdout == "False\n", said.stderr


async def test_without_the_extra_the_flag_says_what_to_install() -> None:
    """Before anything is sent."""
    said = in_a_process("""
        import sys
        sys.modules["opentelemetry.exporter.otlp.proto.http"] = None
        from pipeline.errors import ConfigError
        from pipeline.faces.telemetry import Telemetry
        try:
            Telemetry()
        except ConfigError as error:
            print(error)
    """)
    assert "pip install 'pipeline[otel]'" in said.stdout, said.stderr
