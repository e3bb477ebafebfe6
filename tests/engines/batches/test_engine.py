"""Whole runs in the Batches mode: waves, what runs leave to each other, and how they end."""

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from support.batch_runs import Bench, judged, standing
from support.jobs import CANARY, pipeline_process, run_pipeline
from support.pictures import encoded, smooth
from support.standins import answers, billed

from pipeline.engines.selection import Choice

QUICK = {"max_wait_seconds": 0.05, "drain_seconds": 5.0, "max_attempts": 3}
SCHEMA = {"type": "object", "properties": {"subject": {"type": "string"}}, "required": ["subject"]}
STRICT = {"type": "object", "properties": {"subject": {"type": "string", "maxLength": 0}}, "required": ["subject"]}
LONG = "Write one sentence. " * 900
"""About 4,500 tokens, above the 4,096 from which Haiku 4.5 caches."""


def test_the_first_item_is_asked_alone_and_the_rest_at_half_price(tmp_path: Path) -> None:
    """One message shows that the body is taken; the bill equals the server's."""
    with standing(tmp_path, 6) as bench:
        summary = bench.run()
        assert (summary.exit_code, summary.items["succeeded"]) == (0, 6)
        assert [row["mode"] for row in sorted(bench.rows(), key=lambda row: row["mode"])] == ["batches"] * 5 + [
            "messages"
        ]
        assert summary.cost_usd == pytest.approx(sum(row["cost_usd"] for row in bench.rows()))
        judged(bench, items=6)
        assert bench.run().items["skipped"] == 6
        assert len(answers(bench.log)) == 1


@pytest.mark.parametrize("items", [1, 2, 5])
def test_a_mistaken_body_costs_few_requests(tmp_path: Path, items: int) -> None:
    """No batch is built of what the service does not take: 3 after three refusals, 1 where there are fewer items."""
    with standing(tmp_path, items, faults=("400",)) as bench:
        summary = bench.run()
        assert summary.exit_code == (3 if items >= 3 else 1)
        assert len(answers(bench.log)) <= 3
        assert not bench.lines("batch_call")


def test_turns_go_in_waves(tmp_path: Path) -> None:
    """Each turn of a conversation is a batch of its own, and each is paid once."""
    with standing(tmp_path, 5, {"prompt": {"user": ["Describe {{ title }}.", "Shorter.", "Shorter still."]}}) as bench:
        assert bench.run().exit_code == 0
        assert bench.batches.counts["created"] == 3
        assert {len(row["replies"]) for row in bench.rows()} == {3}
        judged(bench, items=5)


def test_turns_go_on_in_later_runs(tmp_path: Path) -> None:
    """A run that only submits collects what the one before it left, and packs the next turn."""
    with standing(tmp_path, 4, {"prompt": {"user": ["Describe {{ title }}.", "Shorter."]}}) as bench:
        codes = []
        while not codes or (codes[-1] == 4 and len(codes) < 9):
            codes.append(bench.run(wait=False).exit_code)
            for line in bench.lines("batch_created"):
                bench.ended(line["batch_id"])
        assert codes[-1] == 0
        assert bench.batches.counts["created"] == 2
        judged(bench, items=4)


def test_answers_that_do_not_fit_are_repaired_in_another_batch(tmp_path: Path) -> None:
    """Each is asked once more, then fails with what both answers cost."""
    with standing(tmp_path, 4, {"prompt": {"schema_retries": 1}}) as bench:
        path = tmp_path / "schema.json"
        path.write_text(json.dumps(STRICT))
        summary = bench.run(f"prompt.schema={path}")
        assert summary.failures_by_type == {"schema_mismatch": 4}
        assert bench.batches.counts["created"] == 2
        assert bench.run(f"prompt.schema={path}").items["skipped"] == 4
        judged_rows = [row["cost_usd"] for row in bench.rows("failures")]
        assert sum(judged_rows) == pytest.approx(sum(row["cost_usd"] for row in bench.rows("requests")))
        judged(bench, items=0, answers=2)


def test_schemas_are_filled_from_batches(tmp_path: Path) -> None:
    """The typed column is there as from messages."""
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    with standing(tmp_path, 3, {"prompt": {"schema": str(path)}}) as bench:
        assert bench.run().exit_code == 0
        assert all(row["data"]["subject"] for row in bench.rows())


def test_tools_are_called_between_batches(tmp_path: Path) -> None:
    """The image is prepared anew for the tool that looks at it; each turn is paid once."""
    settings = {"prompt": {"user": "Try zoom for {{ title }}.", "tools": ["zoom"]}}
    with standing(tmp_path, 4, settings) as bench:
        assert bench.run().exit_code == 0
        assert bench.batches.counts["created"] == 2
        judged(bench, items=4)


def test_a_failure_between_tool_turns_is_settled_without_the_image(tmp_path: Path) -> None:
    """It fails when its result is read, and its earlier turns are in its costs."""
    settings = {"prompt": {"user": "Try zoom for {{ title }}.", "tools": ["zoom"]}, "retry": QUICK}
    with standing(tmp_path, 3, settings, faults=("item/400:after=2",)) as bench:
        summary = bench.run()
        assert summary.failures_by_type == {"invalid_request_error": 2}
        assert all(row["cost_usd"] > 0 for row in bench.rows("failures"))
        judged(bench, items=1)


def test_a_cached_prefix_is_written_once_and_read_by_the_batch(tmp_path: Path) -> None:
    """The first item writes it for an hour; every item of the batch reads it, at half the price."""
    with standing(tmp_path, 6, {"prompt": {"system": LONG, "cache": True}}) as bench:
        assert bench.run().exit_code == 0
        (first,) = billed(bench.log)
        assert first["cache_creation_input_tokens"] > 0
        rows = [row for row in bench.rows() if row["mode"] == "batches"]
        assert [row["cache_read_input_tokens"] for row in rows] == [first["cache_creation_input_tokens"]] * 5
        judged(bench, items=6)


def twins(bench: Bench, count: int = 3) -> None:
    """Gives some items the same picture and words."""
    picture = encoded(smooth(300, 200, 7), quality=80)
    for number in range(count):
        (bench.job.folder / f"twin-{number}.jpg").write_bytes(picture)
    bench.job.add_rows(*[(f"twin-{number}", f"twin-{number}.jpg", "Twin") for number in range(count)])


@pytest.mark.parametrize("user", [["Describe {{ title }}."], ["Describe {{ title }}.", "Shorter."]])
def test_identical_requests_are_sent_once(tmp_path: Path, user: list[str]) -> None:
    """Those that come while one is in flight wait for it, through all of its turns, and are copied."""
    with standing(tmp_path, 3, {"prompt": {"user": user}, "retry": QUICK}, faults=("item/expired:first=4",)) as bench:
        twins(bench, 4)
        summary = bench.run("retry.max_attempts=6")
        assert (summary.exit_code, summary.items["reused"]) == (0, 3)
        judged(bench, items=7)


def test_twins_of_an_item_that_fails_are_asked_themselves(tmp_path: Path) -> None:
    """Nobody waits for what will not come."""
    with standing(tmp_path, 1, {"retry": QUICK}) as bench:
        assert bench.run().exit_code == 0
        twins(bench, 3)
        bench.faults("item/400:first=1")
        summary = bench.run()
        assert (summary.items["failed"], summary.items["succeeded"], summary.items["reused"]) == (1, 1, 1)
        judged(bench, items=3)


def test_identical_requests_wait_across_runs(tmp_path: Path) -> None:
    """One that is in flight from an earlier run is waited for, not sent again."""
    with standing(tmp_path, 3, batch_hold=True) as bench:
        twins(bench, 1)
        assert bench.run(wait=False).exit_code == 4
        twins(bench, 3)
        assert bench.run(wait=False).items["pending"] == 5
        assert bench.batches.counts["items"] == 3
        bench.batches.hold(False)
        assert bench.run().items["reused"] == 2
        judged(bench, items=6)


@pytest.mark.parametrize("status", ["400", "404"])
def test_pictures_that_are_refused_as_files_are_asked_alone(tmp_path: Path, status: str) -> None:
    """An item whose file the service does not take in a batch is asked through messages, where remedies apply."""
    settings = {"images": {"transport": "file"}, "retry": QUICK}
    with standing(tmp_path, 5, settings, faults=(f"item/{status}:first=2",)) as bench:
        assert bench.run().exit_code == 0
        assert [row["mode"] for row in bench.rows()].count("messages") == 3
        judged(bench, items=5)


def test_parts_of_the_manifest_count_only_their_own(tmp_path: Path) -> None:
    """Batches of earlier runs are collected whatever the part, and only what belongs to it is counted."""
    with standing(tmp_path, 9, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.batches.hold(False)
        summary = bench.run(choice=Choice(limit=4))
        assert (summary.exit_code, summary.items["total"], summary.items["pending"]) == (0, 4, 0)
        assert bench.run(choice=Choice(sample=5)).items["total"] == 5
        assert bench.run().items == {"total": 9, "succeeded": 0, "failed": 0, "skipped": 9, "reused": 0, "pending": 0}
        judged(bench, items=9)


def test_rows_that_left_the_manifest_are_collected_and_not_counted(tmp_path: Path) -> None:
    """What was paid for is kept, and the counts add up."""
    with standing(tmp_path, 6, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.batches.hold(False)
        manifest = bench.job.folder / "photos.csv"
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:4]))
        assert bench.run().items["total"] == 3
        judged(bench, items=6)


def test_shards_find_what_the_whole_left_in_flight_and_back(tmp_path: Path) -> None:
    """A batch whose items belong to several shards is read by each of them; nothing is asked twice."""
    with standing(tmp_path, 12, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        assert bench.run(choice=Choice(shard=(1, 2)), wait=False).exit_code == 4
        bench.batches.hold(False)
        one = bench.run(choice=Choice(shard=(1, 3)))
        assert (one.exit_code, one.items["pending"]) == (0, 0)
        assert bench.run().exit_code == 0
        assert bench.batches.counts["created"] == 1
        judged(bench, items=12)


def test_messages_leave_what_is_in_batches(tmp_path: Path) -> None:
    """Items in flight stay pending, with 4 and a word on what to do."""
    with standing(tmp_path, 5, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        summary = bench.run("api.mode=messages")
        assert (summary.exit_code, summary.items["pending"]) == (4, 4)
        assert "batches" in str(summary.reason)
        assert len(answers(bench.log)) == 1
        bench.batches.hold(False)
        assert bench.run().exit_code == 0
        judged(bench, items=5)


def test_messages_take_up_what_waits_for_a_batch(tmp_path: Path) -> None:
    """An item between two batches is asked through messages, with what is paid of it."""
    with standing(tmp_path, 4, {"prompt": {"user": ["Describe {{ title }}.", "Shorter."]}}) as bench:
        bench.run(wait=False)
        bench.ended(bench.lines("batch_created")[0]["batch_id"])
        bench.faults("create/401")
        assert bench.run().exit_code == 3
        bench.faults()
        assert bench.run("api.mode=messages").exit_code == 0
        assert bench.run().items["skipped"] == 4
        judged(bench, items=4)


def test_another_prompt_leaves_paid_answers_to_the_one_that_asked(tmp_path: Path) -> None:
    """They are taken in under their own fingerprint, at their own model's price, and settled when that runs again."""
    other = ("prompt.user=Other {{ title }}.", "api.model=claude-sonnet-4-5")
    with standing(tmp_path, 4, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.batches.hold(False)
        bench.ended(bench.lines("batch_created")[0]["batch_id"])
        summary = bench.run(*other, accept_new_fingerprint=True)
        assert (summary.exit_code, summary.items["succeeded"]) == (0, 4)
        judged(bench, items=5)
        again = bench.run(accept_new_fingerprint=True)
        assert (again.items["succeeded"], again.items["skipped"]) == (3, 1)
        assert bench.batches.counts["created"] == 2
        judged(bench, items=8)


def test_batches_of_another_address_are_left_alone(tmp_path: Path) -> None:
    """They belong to another account: their items stay pending, and the run ends."""
    with ExitStack() as stack:
        bench = stack.enter_context(standing(tmp_path, 4, batch_hold=True))
        other = stack.enter_context(standing(tmp_path / "other", 2))
        assert bench.run(wait=False).exit_code == 4
        summary = bench.run(f"api.base_url={other.server.url}")
        assert (summary.exit_code, summary.items["pending"]) == (4, 3)
        assert "api.base_url" in str(summary.reason)
        bench.batches.hold(False)
        assert bench.run().exit_code == 0
        judged(bench, items=4)


def test_the_budget_is_never_passed(tmp_path: Path) -> None:
    """Batches reserve the most that they can cost, at half price; what is in flight makes room; 4 says that none is.

    The most that a message of this job can cost is about 0.0038 USD; it costs a thirtieth of that.
    """
    with standing(tmp_path, 10) as bench:
        summary = bench.run("limits.budget_usd=0.004", choice=Choice(limit=6))
        assert summary.exit_code == 0
        sizes = [line["items"] for line in bench.lines("batch_created")]
        assert max(sizes) <= 2
        assert len(sizes) >= 3
        summary = bench.run("limits.budget_usd=0.001")
        assert (summary.exit_code, summary.items["pending"], summary.requests["sent"]) == (4, 4, 0)
        summary = bench.run("limits.budget_usd=0.002", wait=False)
        assert (summary.exit_code, len(bench.lines("batch_created"))) == (4, len(sizes) + 1)
        assert bench.run().exit_code == 0
        judged(bench, items=10)


def test_max_runtime_leaves_batches_in_flight(tmp_path: Path) -> None:
    """The run ends with 4 and the next one collects."""
    with standing(tmp_path, 5, batch_hold=True) as bench:
        summary = bench.run(max_runtime_s=1.0)
        assert (summary.exit_code, summary.items["pending"]) == (4, 4)
        bench.batches.hold(False)
        assert bench.run().exit_code == 0
        assert bench.batches.counts["created"] == 1
        judged(bench, items=5)


def test_auto_turns_to_messages_when_the_deadline_is_near(tmp_path: Path) -> None:
    """What is in flight is canceled, what it had answered is kept, the rest is asked by itself, each once."""
    with standing(tmp_path, 9, {"api": {"mode": "auto", "deadline": "3h"}}, batch_s=(3600, 3600)) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.batches.advance(1800)
        summary = bench.run("api.deadline=2s")
        assert (summary.exit_code, summary.items["succeeded"]) == (0, 8)
        assert bench.batches.counts["canceled"] == 4
        modes = [row["mode"] for row in bench.rows()]
        assert (modes.count("batches"), modes.count("messages")) == (4, 5)
        judged(bench, items=9)


def test_auto_with_little_time_asks_through_messages_at_once(tmp_path: Path) -> None:
    """A batch is not worth its while then."""
    with standing(tmp_path, 5, {"api": {"mode": "auto", "deadline": "30m"}}) as bench:
        assert bench.run().exit_code == 0
        assert not bench.lines("batch_created")
        judged(bench, items=5)


def test_auto_does_not_wait_for_a_full_queue_when_time_is_up(tmp_path: Path) -> None:
    """What could not be submitted is asked by itself."""
    settings = {"api": {"mode": "auto", "deadline": "3h"}}
    with standing(tmp_path, 5, settings, batch_hold=True, batch_queue=4) as bench:
        assert bench.run(wait=False).exit_code == 4
        bench.job.add_rows(("more", "item-000.jpg", "More"), ("most", "item-000.jpg", "Most"))
        assert bench.run("api.deadline=2s").exit_code == 0
        judged(bench, items=7)


def started(bench: Bench, is_so: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
    """Runs the program as a process and sends it a signal once something is so; its exit code and what it said."""
    process = pipeline_process("run", bench.job.config_path, "--progress", "none")
    until = monotonic() + 60
    while not is_so() and process.poll() is None and monotonic() < until:
        pass
    process.send_signal(number)
    said = "".join(process.communicate(timeout=60))
    return process.returncode, said


@pytest.mark.parametrize("moment", ["packing", "creating", "collecting", "waiting"])
def test_a_signal_ends_a_run_in_good_order(tmp_path: Path, moment: str) -> None:
    """143, nothing lost, nothing created or paid twice, and the next run goes on."""
    faults = {"creating": ("create/slow:seconds=1",), "collecting": ("results/drip:seconds=0.03",)}.get(moment, ())
    with standing(tmp_path, 60, faults=faults, batch_hold=moment == "waiting") as bench:
        bodies = bench.job.output / "_state" / "batches"
        moments: dict[str, Callable[[], bool]] = {
            "packing": lambda: any(path.stat().st_size > 40_000 for path in bodies.glob("*.json")),
            "creating": lambda: bench.batches.counts["created"] > 0,
            "collecting": lambda: len(bench.lines("batch_delivered")) > 3,
            "waiting": lambda: bool(bench.lines("batch_call", call="get")),
        }
        code, said = started(bench, moments[moment], signal.SIGTERM)
        assert (code, "Traceback" in said, CANARY in said) == (143, False, False)
        bench.faults()
        bench.batches.hold(False)
        assert bench.run().exit_code == 0
        judged(bench, items=60)


def test_batches_are_listed_and_canceled_from_the_command_line(tmp_path: Path) -> None:
    """Both work on what a run left in flight; what is canceled fails in the next run."""
    with standing(tmp_path, 4, batch_hold=True) as bench:
        left = run_pipeline("run", bench.job.config_path, "--no-wait", "--json")
        assert left.returncode == 4
        assert json.loads(left.stdout)["items"]["pending"] == 3
        listed = run_pipeline("batches", bench.job.config_path, "list", "--json")
        (batch,) = json.loads(listed.stdout)["batches"]
        assert (batch["items"], batch["status"]) == (3, "in_progress")
        assert CANARY not in listed.stdout + listed.stderr
        canceled = run_pipeline("batches", bench.job.config_path, "cancel")
        assert "canceling" in canceled.stdout
        summary = bench.run()
        assert (summary.exit_code, summary.failures_by_type) == (1, {"batch_canceled": 3})
