"""The end of a run and the state of a dataset, as people read them."""

from pathlib import Path
from typing import Any

import pytest
from support.datasets import answered, failed, write_run

from pipeline.engines.summary import RunSummary
from pipeline.faces.summary import status_text, summary_text
from pipeline.records import Usage
from pipeline.store.read import DatasetStatus, RequestCounts, dataset_status

NONE = {"total": 0, "succeeded": 0, "failed": 0, "skipped": 0, "reused": 0, "pending": 0}


def summary(output: Path, items: dict[str, int], **more: Any) -> RunSummary:
    """The summary of `run-1` with these counts."""
    values: dict[str, Any] = {
        "run_id": "run-1",
        "fingerprint": "f1",
        "exit_code": 0,
        "reason": None,
        "items": {**NONE, **items},
        "unmended": 0,
        "requests": {"sent": 1234, "succeeded": 5, "retried": 6, "rate_limited": 7},
        "usage": dict.fromkeys(
            ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"), 0
        ),
        "cost_usd": 0.125,
        "seconds": 61.0,
        "images_per_second": 2.04,
        "failures_by_type": {},
        "output": str(output),
    }
    return RunSummary(**{**values, **more})


def row(text: str, name: str) -> str:
    """The line of that name."""
    return next(line for line in text.splitlines() if line.startswith(name))


def test_a_good_run_says_what_came_of_the_items_and_what_it_cost(tmp_path: Path) -> None:
    """Counts that are zero are left out; nothing is left to do."""
    text = summary_text(summary(tmp_path, {"total": 3, "succeeded": 2, "skipped": 1}))
    assert row(text, "items").endswith("3 items: 2 captioned, 1 settled before")
    assert "1,234 sent, 5 answered, 6 retried, 7 rate limited" in row(text, "requests")
    assert row(text, "cost").endswith("$0.1250")
    assert row(text, "time").endswith("1:01, 2.0 images/s")
    assert row(text, "output").endswith(str(tmp_path))
    assert "next" not in text
    assert "stopped" not in text


def test_cached_tokens_are_named_where_there_are_any(tmp_path: Path) -> None:
    """Most runs have none, and need no words for them."""
    usage = {"input_tokens": 10, "output_tokens": 2000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    assert row(summary_text(summary(tmp_path, {}, usage=usage)), "tokens").endswith("10 input, 2,000 output")
    usage["cache_read_input_tokens"] = 7
    assert "0 cache written, 7 read" in summary_text(summary(tmp_path, {}, usage=usage))


def test_a_few_captions_and_failures_of_this_run_are_shown(tmp_path: Path) -> None:
    """Three of each at the most five, none of another run, and nothing in them is obeyed by the terminal."""
    write_run(tmp_path, [answered("old")], run_id="run-0")
    good = [answered(f"good-{number}", caption=f"caption {number}\x1b[2J") for number in range(5)]
    write_run(tmp_path, [*good, *(failed(f"bad-{number}", "image\x9b_odd") for number in range(7))])
    kinds = {"image\x9b_odd": 7}
    text = summary_text(summary(tmp_path, {"total": 12, "succeeded": 5, "failed": 7}, failures_by_type=kinds))
    assert text.count(": caption ") == 3
    assert text.count(" went wrong") == 5
    assert "old" not in text
    assert all(line.isprintable() for line in text.splitlines())
    assert "all 7 failures are in" in text
    assert "7 image\\x9b_odd" in text
    assert "--retry-failed" in text


def test_a_run_that_stopped_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    """The reason comes from the service at times, so it is data."""
    stopped = summary(tmp_path, {"total": 9, "succeeded": 2, "pending": 7}, reason="key \x1b refused", exit_code=3)
    text = summary_text(stopped)
    assert row(text, "stopped").endswith("key \\x1b refused")
    assert "2 captioned, 7 waiting" in text
    assert "run the same command again" in row(text, "next")


def test_failures_of_earlier_runs_are_not_forgotten(tmp_path: Path) -> None:
    """Nothing failed now, and still the run is not all good: the remedy is named."""
    text = summary_text(summary(tmp_path, {"total": 3, "skipped": 3}, unmended=2, exit_code=1))
    assert row(text, "next").endswith("2 items failed in earlier runs; once mended, run again with --retry-failed")


def test_status_tells_what_a_dataset_holds(tmp_path: Path) -> None:
    """Counts by newest row, failures by type, the bill, and how the last run ended."""
    write_run(tmp_path, [answered("a"), answered("b"), failed("c"), failed("d", "timeout")])
    (tmp_path / "runs" / "run-2.json").write_text('{"run_id": "run-2", "exit_code": 4}')
    text = status_text(dataset_status(tmp_path))
    assert row(text, "items").endswith("4 items: 2 succeeded, 2 failed")
    assert "1 image_missing" in text
    assert row(text, "requests").startswith("requests    4 sent, 4 answered")
    assert row(text, "cost").endswith("$2.0000")
    assert row(text, "runs").endswith("2, the last run-2 with exit code 4")


@pytest.mark.parametrize("runs", [(), ({"exit_code": 0, "run_id": "\x1b[2J"},)])
def test_status_of_a_dataset_with_odd_names_is_safe(runs: tuple[dict[str, Any], ...]) -> None:
    """Folder names, types of errors and run ids may hold anything."""
    kinds = {"odd\x1b]0;x\x07": 1}
    status = DatasetStatus(Path("out\x1b[2J"), 0, 1, kinds, Usage(), 0.0, RequestCounts(), runs)
    assert all(line.isprintable() for line in status_text(status).splitlines())
