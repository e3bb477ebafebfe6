"""`pipeline view` beside a run."""

import signal
import time
from pathlib import Path
from typing import Any

from support.jobs import make_job, pipeline_process, run_pipeline
from support.viewing import viewing


def test_a_run_in_progress_is_seen_and_not_disturbed(tmp_path: Path, start_standin: Any) -> None:
    """Captions and money are there before a part is written; the run ends as it would alone, and so does the view."""
    server = start_standin("slow:at=5,seconds=120")
    limits = {"concurrency": 1}
    job = make_job(tmp_path, server.url, images=6, settings={"limits": limits, "output": {"flush_seconds": 600}})
    run = pipeline_process("run", job.config_path, "--progress", "none")
    try:
        deadline = time.monotonic() + 60
        while not (job.output / "_state" / "journal.sqlite-wal").exists():
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < deadline
        with viewing(job.output) as viewer:
            while (state := viewer.client.get("/state").json())["captioned"] < 4:
                assert time.monotonic() < deadline, state
            assert list((job.output / "results").glob("*")) == []
            assert state["cost_usd"] > 0
            assert state["sent"] >= 4
            assert len(state["runs"]) == 1
            assert "picture" in viewer.items()["rows"][0]["caption"]
            run.send_signal(signal.SIGINT)
            assert viewer.client.get("/state").status_code == 200
            assert run.wait(timeout=60) == 130
            while (state := viewer.client.get("/state").json())["runs"]:
                assert time.monotonic() < deadline, state
            assert state["captioned"] == 4
    finally:
        run.kill()
        run.communicate()
    assert run_pipeline("run", job.config_path, "--progress", "none", "--set", "limits.concurrency=4").returncode == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path, start_standin: Any) -> None:
    """Exit 2, and one line."""
    job = make_job(tmp_path, start_standin().url, images=1)
    assert run_pipeline("run", job.config_path, "--progress", "none").returncode == 0
    with viewing(job.output) as viewer:
        done = run_pipeline("view", job.output, "--port", viewer.base.rpartition(":")[2])
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
