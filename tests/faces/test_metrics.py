"""The textfile for Prometheus: read back with the official parser."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.jobs import make_job

from pipeline.engines.job import LiveRun, RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError
from pipeline.faces.metrics import metrics_view, together, write_metrics

SUMMARY = RunSummary(
    run_id="run-1",
    fingerprint="f1",
    exit_code=0,
    reason=None,
    items={"total": 9, "succeeded": 5, "failed": 2, "skipped": 1, "reused": 1, "pending": 0},
    unmended=1,
    requests={"sent": 8, "succeeded": 5, "retried": 1, "rate_limited": 1},
    usage={"input_tokens": 100, "output_tokens": 20},
    cost_usd=0.125,
    seconds=2.5,
    images_per_second=2.0,
    failures_by_type={'image_"odd"\n': 2},
    output="out",
)


def read(path: Path) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_a_finished_run_is_all_there(tmp_path: Path) -> None:
    """Counts by label, dollars, tokens, the exit code and the time of the last good run."""
    path = tmp_path / "pipeline.prom"
    write_metrics(path, SUMMARY)
    found = read(path)
    assert found["pipeline_items", "succeeded"] == 5
    assert found["pipeline_requests", "rate_limited"] == 1
    assert found["pipeline_tokens", "output_tokens"] == 20
    assert found["pipeline_failures", 'image_"odd"\n'] == 2
    assert (found["pipeline_cost_usd",], found["pipeline_exit_code",]) == (0.125, 0)
    assert found["pipeline_last_success_timestamp_seconds",] > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipeline.prom"]


def test_a_failed_run_keeps_the_time_of_the_last_good_one(tmp_path: Path) -> None:
    """An alert on its age holds while runs fail."""
    path = tmp_path / "pipeline.prom"
    write_metrics(path, SUMMARY)
    good = read(path)["pipeline_last_success_timestamp_seconds",]
    for _ in range(2):
        write_metrics(path, replace(SUMMARY, exit_code=1))
    found = read(path)
    assert (found["pipeline_exit_code",], found["pipeline_last_success_timestamp_seconds",]) == (1, good)


def test_a_first_run_that_fails_claims_no_success(tmp_path: Path) -> None:
    """The series is absent, and no stray file makes up for it."""
    path = tmp_path / "pipeline.prom"
    path.write_bytes(b"\xff\xfe no metrics")
    write_metrics(path, replace(SUMMARY, exit_code=3))
    assert ("pipeline_last_success_timestamp_seconds",) not in read(path)


def test_a_file_that_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run is over and paid for."""
    write_metrics(tmp_path / "gone" / "pipeline.prom", SUMMARY)
    assert "--metrics-file" in caplog.text


def test_a_missing_folder_is_found_before_the_run(tmp_path: Path) -> None:
    """Nothing is spent on a run that could not be watched."""
    with pytest.raises(ConfigError, match="no such folder"):
        metrics_view(tmp_path / "gone" / "pipeline.prom")


@pytest.mark.anyio
async def test_a_run_under_way_writes_its_counters(tmp_path: Path, start_standin: Any) -> None:
    """Beside another view, and without an exit code, since there is none yet."""
    job = make_job(tmp_path, start_standin(latency_s=(0.05, 0.1)).url, images=6)
    path = tmp_path / "pipeline.prom"
    seen: list[dict[tuple[str, ...], float]] = []

    async def other(live: LiveRun) -> None:
        while True:
            if path.exists():
                seen.append(read(path))
            await anyio.sleep(0.01)

    view = together(None, metrics_view(path, every_s=0.02), other)
    plan = plan_run(job.config(), {"ANTHROPIC_API_KEY": "test-key"})
    summary = await run_job(plan, RunOptions(signals=False), view)
    assert summary.exit_code == 0
    assert any(found["pipeline_items", "total"] == 6 for found in seen)
    assert all(("pipeline_exit_code",) not in found for found in seen)


def test_no_views_are_no_view() -> None:
    """`--progress none` without metrics costs nothing."""
    assert together(None, None) is None
