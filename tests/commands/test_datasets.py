"""Commands over a dataset, as processes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.jobs import make_job, run_pipeline

from pipeline.store.parts import list_parts
from pipeline.store.read import read_results
from pipeline.store.reviews import Review, ReviewWriter, Verdict
from pipeline.store.schema import Kind


@pytest.fixture
def output(tmp_path: Path, start_standin: Any) -> Path:
    """A dataset of six items in six parts."""
    job = make_job(tmp_path / "job", start_standin().url, images=6)
    settings = ("--set", "output.rows_per_file=1", "--progress", "none")
    assert run_pipeline("run", job.config_path, *settings).returncode == 0
    return job.output


def test_compact_merges_parts_and_changes_no_row(output: Path) -> None:
    """The same rows in fewer files; status and a further run see the same dataset."""
    before = sorted(read_results(output).to_pylist(), key=lambda row: row["item_id"])
    assert len(list_parts(output, Kind.RESULTS)) > 1
    done = run_pipeline("compact", output)
    assert done.returncode == 0, done.stderr
    assert len(list_parts(output, Kind.RESULTS)) == 1
    assert sorted(read_results(output).to_pylist(), key=lambda row: row["item_id"]) == before
    again = run_pipeline("run", output.parent / "job.toml", "--json")
    assert json.loads(again.stdout)["items"]["skipped"] == 6


def test_export_writes_a_new_place_and_refuses_an_old_one(output: Path, tmp_path: Path) -> None:
    """The number of captions is said; a second export to the same place is wrong usage."""
    target = tmp_path / "captions.csv"
    done = run_pipeline("export", output, "--format", "csv", "-o", target)
    assert done.returncode == 0
    assert "6 captions" in done.stdout
    assert len(target.read_text().splitlines()) == 7
    assert run_pipeline("export", output, "--format", "csv", "-o", target).returncode == 2


def test_report_says_where_the_page_is(output: Path, tmp_path: Path) -> None:
    """By default it stands in the dataset."""
    done = run_pipeline("report", output)
    assert str(output / "report.html") in done.stdout
    assert (output / "report.html").is_file()
    assert run_pipeline("report", output, "-o", tmp_path / "none" / "page.html").returncode == 2


def test_exports_are_as_reviewed_and_say_so(output: Path, tmp_path: Path) -> None:
    """Where nobody reviewed nothing is said; `--no-reviewed` gives the captions as they were answered."""
    rows = read_results(output).to_pylist()
    done = run_pipeline("export", output, "--format", "jsonl", "-o", tmp_path / "before.jsonl")
    assert "--no-reviewed" not in done.stdout
    mark = rows[0]["fingerprint"]
    ReviewWriter(output).add(Review("item-000", mark, Verdict.REJECTED, "ada", datetime(2026, 5, 1, tzinfo=UTC)))
    done = run_pipeline("export", output, "--format", "jsonl", "-o", tmp_path / "after.jsonl")
    assert "5 captions" in done.stdout
    assert "--no-reviewed" in done.stdout
    assert "item-000" not in (tmp_path / "after.jsonl").read_text()
    done = run_pipeline("export", output, "--format", "jsonl", "-o", tmp_path / "all.jsonl", "--no-reviewed")
    assert "6 captions" in done.stdout
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "before.jsonl").read_bytes()
