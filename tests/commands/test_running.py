"""What `pipeline run` leaves for those who watch it."""

from pathlib import Path
from typing import Any

from support.jobs import make_job, run_pipeline


def test_a_good_run_writes_metrics_and_gives_a_sign_and_a_bad_one_gives_none(
    tmp_path: Path, start_standin: Any
) -> None:
    """The metrics tell of both; the heartbeat of the good one alone."""
    job = make_job(tmp_path / "job", start_standin().url, images=2)
    metrics, beat = tmp_path / "run.prom", tmp_path / "beat"
    words = ("run", job.config_path, "--progress", "none", "--metrics-file", metrics, "--heartbeat", beat)
    assert run_pipeline(*words).returncode == 0
    assert beat.exists()
    assert "pipeline_" in metrics.read_text()
    beat.unlink()
    job.add_rows(["gone", "gone.jpg", "Gone"])
    assert run_pipeline(*words).returncode == 1
    assert not beat.exists()
