"""Creating batches, each once: lost answers, failures, limits and sizes, with the stand-in's own account of them."""

from pathlib import Path

import pytest
from support.batch_runs import judged, standing

from pipeline.engines.batches.submitting import settling_s
from pipeline.settings import SettingsApi

QUICK = {"retry": {"max_wait_seconds": 0.05, "drain_seconds": 5.0, "max_attempts": 3}}


@pytest.mark.parametrize(
    "fault",
    [
        "create/lost_answer:first=1",
        "create/lost_answer:first=1,status=500",
        "create/lost_answer:first=1,status=529",
        "create/truncated:first=1,part=0.5",
    ],
)
def test_a_batch_whose_answer_was_lost_is_adopted(tmp_path: Path, fault: str) -> None:
    """It is found by its items' names once it has ended, and is never created again."""
    with standing(tmp_path, 5, faults=(fault,), batch_s=(0.2, 0.2)) as bench:
        assert bench.run().exit_code == 0
        assert bench.batches.counts["created"] == 1
        judged(bench, items=5)


@pytest.mark.parametrize("fault", ["create/500:first=1", "create/reset:first=1"])
def test_a_batch_that_was_not_created_is_created_once_again(tmp_path: Path, fault: str) -> None:
    """Where nothing like it is listed it does not exist, and its body is sent again."""
    with standing(tmp_path, 5, faults=(fault,)) as bench:
        assert bench.run().exit_code == 0
        assert [line["status"] for line in bench.lines("batch_call", call="create")][-1] == 200
        assert bench.batches.counts["created"] == 1
        judged(bench, items=5)


def test_two_batches_of_one_size_with_lost_answers_are_told_apart(tmp_path: Path) -> None:
    """Each is known by the names in its own results."""
    size = _body_bytes(tmp_path / "sized")
    with standing(tmp_path, 7, QUICK, faults=("create/lost_answer",), batch_s=(0.3, 0.3), batch_bytes=size) as bench:
        summary = bench.run("retry.max_attempts=20")
        assert summary.exit_code == 0
        assert len(bench.lines("batch_created")) >= 2
        judged(bench, items=7)


def test_a_service_that_never_creates_ends_the_run(tmp_path: Path) -> None:
    """After so many attempts the run stops with 3, and its items wait for the next one."""
    with standing(tmp_path, 4, QUICK, faults=("create/500",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.items["pending"]) == (3, 3)
        assert len(bench.lines("batch_call", call="create")) == 3
        bench.faults()
        assert bench.run().exit_code == 0
        judged(bench, items=4)


def test_a_batch_that_is_too_large_is_built_smaller(tmp_path: Path) -> None:
    """A body that the service refuses for its size makes the next ones half as large."""
    size = _body_bytes(tmp_path / "sized")
    with standing(tmp_path, 9, batch_bytes=size) as bench:
        assert bench.run().exit_code == 0
        sizes = [line["bytes"] for line in bench.lines("batch_created")]
        assert len(sizes) >= 3
        assert max(sizes) <= size
        judged(bench, items=9)


def test_an_item_that_is_too_large_for_any_batch_is_asked_by_itself(tmp_path: Path) -> None:
    """A batch of one item that is refused ends in a message, not in an endless loop."""
    with standing(tmp_path, 3, batch_bytes=500) as bench:
        assert bench.run().exit_code == 0
        assert {row["mode"] for row in bench.rows()} == {"messages"}
        judged(bench, items=3)


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """A 429 to a create costs waiting alone."""
    with standing(tmp_path, 5, faults=("create/429:retry_after=1,first=1",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, bench.batches.counts["created"]) == (0, 1)
        judged(bench, items=5)


def test_a_full_queue_is_not_waited_for_by_a_run_that_only_submits(tmp_path: Path) -> None:
    """With `--no-wait` the items are left to the next run after a few attempts."""
    with standing(tmp_path, 5, QUICK, batch_queue=2, batch_hold=True) as bench:
        bench.faults("create/429:retry_after=0.01")
        summary = bench.run(wait=False)
        assert (summary.exit_code, summary.items["pending"]) == (4, 4)
        bench.faults()
        bench.batches.hold(False)


def test_a_refused_create_keeps_what_was_packed(tmp_path: Path) -> None:
    """A key that is refused stops the run with 3; the next one packs the same items."""
    with standing(tmp_path, 4, QUICK, faults=("create/401",)) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.items["pending"]) == (3, 3)
        assert not list(bench.job.output.glob("_state/batches/*.json"))
        bench.faults()
        assert bench.run().exit_code == 0
        judged(bench, items=4)


def _body_bytes(folder: Path) -> int:
    """About the size of a batch of four of the job's items."""
    with standing(folder, 5) as bench:
        assert bench.run().exit_code == 0
        return max(line["bytes"] for line in bench.lines("batch_created")) + 600


@pytest.mark.parametrize(
    ("base_url", "poll_seconds", "seconds"),
    [
        ("https://api.anthropic.com", 60.0, 60.0),
        ("https://api.anthropic.com", 600.0, 60.0),
        ("https://api.anthropic.com", 0.1, 15.0),
        ("http://127.0.0.1:8080", 0.1, 0.1),
        ("embedded", 0.1, 0.1),
    ],
)
def test_a_create_whose_fate_is_unknown_is_given_time(base_url: str, poll_seconds: float, seconds: float) -> None:
    """A service across a network may list a batch late: nothing is concluded within fifteen seconds."""
    api = SettingsApi(model="m", max_tokens=1, base_url=base_url, poll_seconds=poll_seconds)
    assert settling_s(api) == seconds
