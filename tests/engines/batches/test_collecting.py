"""Results taken in: every kind of them, cut off, unreadable, at another host, gone."""

from pathlib import Path

import pytest
from support.batch_runs import judged, standing

DAY_S = 86_400
QUICK = {"retry": {"max_wait_seconds": 0.05, "drain_seconds": 5.0, "max_attempts": 3}}


@pytest.mark.parametrize("fault", ["item/500", "item/529", "item/429", "item/504", "item/expired"])
def test_what_failed_by_the_services_fault_is_asked_again(tmp_path: Path, fault: str) -> None:
    """It goes into the next batch, costs nothing, and has a row of `requests` for each result."""
    with standing(tmp_path, 6, QUICK, faults=(f"{fault}:first=2",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.items["succeeded"]) == (0, 6)
        assert bench.batches.counts["created"] == 2
        rows = [row for row in bench.rows("requests") if row["mode"] == "batches"]
        assert len(rows) == 7
        assert all(row["http_status"] is None and row["batch_id"] for row in rows)
        assert {row["cost_usd"] for row in rows if row["error_type"]} == {0.0}
        judged(bench, items=6)


def test_what_always_expires_fails_as_retryable(tmp_path: Path) -> None:
    """After `retry.max_attempts` it is a failure that the next run takes up by itself."""
    with standing(tmp_path, 4, QUICK, faults=("item/expired",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.failures_by_type) == (1, {"batch_expired": 3})
        assert {(row["attempts"], row["retryable"], row["cost_usd"]) for row in bench.rows("failures")} == {
            (3, True, 0.0)
        }
        bench.faults()
        assert bench.run().exit_code == 0
        judged(bench, items=4)


def test_invalid_and_canceled_items_fail_for_good(tmp_path: Path) -> None:
    """Each costs itself alone, and is not asked again without `--retry-failed`."""
    with standing(tmp_path, 6, QUICK, faults=("item/400:first=1", "item/canceled:after=1,until=3")) as bench:
        summary = bench.run()
        assert summary.exit_code == 1
        assert summary.failures_by_type == {"batch_canceled": 2, "invalid_request_error": 1}
        assert {row["retryable"] for row in bench.rows("failures")} == {False}
        created = bench.batches.counts["created"]
        assert bench.run().items == {**summary.items, "succeeded": 0, "failed": 0, "skipped": 6}
        assert bench.batches.counts["created"] == created
        judged(bench, items=3)


def test_refusals_and_answers_that_cannot_be_read_fail_once(tmp_path: Path) -> None:
    """What may have been paid for is never asked again: `bad_response`, its bytes kept."""
    faults = ("item/garbled:first=1", "item/html:after=1,until=2", "item/refusal:after=2,until=3")
    with standing(tmp_path, 6, QUICK, faults=faults) as bench:
        summary = bench.run()
        assert summary.failures_by_type == {"bad_response": 2, "refusal": 1}
        assert summary.items["succeeded"] == 3
        assert len(list((bench.job.output / "_state" / "unreadable").glob("*.body"))) == 2
        assert bench.run().items["skipped"] == 6


def test_results_that_are_cut_off_are_read_on(tmp_path: Path) -> None:
    """Each line is taken in once, in whatever order it comes."""
    faults = (
        "results/truncated:part=0.5,first=3",
        "results/reset_mid_body:bytes=900,after=3,until=5",
        "results/500:after=5,until=6",
    )
    with standing(tmp_path, 12, QUICK, faults=faults) as bench:
        assert bench.run().exit_code == 0
        assert len(bench.lines("batch_call", call="results")) == 7
        judged(bench, items=12)


def test_results_that_are_never_whole_stop_the_run(tmp_path: Path) -> None:
    """What came is kept; the next run reads on."""
    with standing(tmp_path, 12, QUICK, faults=("results/500",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.items["pending"]) == (3, 11)
        bench.faults()
        assert bench.run().exit_code == 0
        judged(bench, items=12)


def test_results_at_another_host_are_refused(tmp_path: Path) -> None:
    """The run stops with 3 and the other host hears nothing."""
    with standing(tmp_path, 4, QUICK, faults=("get/elsewhere:to=http://127.0.0.2:9",)) as bench:
        summary = bench.run()
        assert summary.exit_code == 3
        assert "127.0.0.2" in str(summary.reason)
        assert not bench.lines("batch_call", call="results")
        bench.faults()
        assert bench.run().exit_code == 0
        judged(bench, items=4)


def test_a_batch_that_expires_is_asked_again(tmp_path: Path) -> None:
    """What was answered within 24 hours is kept, the rest goes into another batch."""
    with standing(tmp_path, 9, batch_s=(2 * DAY_S, 2 * DAY_S)) as bench:
        assert bench.run(wait=False).exit_code == 4
        for expired in (4, 6, 7, 8):
            bench.batches.advance(DAY_S + 1)
            assert bench.run(wait=False).items["failed"] == 0
            assert bench.batches.counts["expired"] == expired
            assert bench.run(wait=False).exit_code == 4
        judged(bench, items=8)


@pytest.mark.parametrize("deleted", [False, True])
def test_results_that_are_gone_are_not_paid_for_again(tmp_path: Path, deleted: bool) -> None:
    """After 29 days, or once the batch was deleted, its items fail as what may have been paid for."""
    with standing(tmp_path, 4, QUICK, batch_s=(3600, 3600)) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.batches.advance(29 * DAY_S if not deleted else 3600)
        if deleted:
            batch_id = bench.lines("batch_created")[0]["batch_id"]
            bench.ended(batch_id)
            bench.batches.delete(batch_id)
        summary = bench.run()
        assert (summary.exit_code, summary.failures_by_type) == (1, {"bad_response": 3})
        assert bench.run().items["skipped"] == 4
        assert bench.batches.counts["created"] == 1
