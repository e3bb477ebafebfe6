"""Whole runs against the stand-in: its own log is the judge, never the program's counters."""

import io
import json
import socket
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.buckets import environment, filled_bucket
from support.jobs import Job, make_job
from support.pictures import encoded, smooth
from support.standins import answers, billed

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError, OutputHeldError
from pipeline.standin.server import StandinServer
from pipeline.store.dataset import open_dataset
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
KEY = {"ANTHROPIC_API_KEY": "test-key"}
TOKENS = ("input_tokens", "output_tokens")


async def run(job: Job, *overrides: str, options: RunOptions | None = None, **choice: Any) -> RunSummary:
    """One run of a job in this process."""
    options = options or RunOptions(Choice(**choice), signals=False)
    return await run_job(plan_run(job.config(*overrides), KEY), options)


def rows(table: pa.Table) -> dict[str, dict[str, Any]]:
    """A table's rows by item."""
    return {row["item_id"]: row for row in table.to_pylist()}


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a dataset, with its bytes and time of change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def log_of(server: StandinServer) -> Path:
    """A stand-in's log."""
    assert server.options.log is not None
    return server.options.log


async def test_a_manifest_in_a_bucket_brings_its_pictures_along(
    tmp_path: Path, start_standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths start beside it, members of tars among them; a row that leads out of its folder fails alone."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    pictures = {f"{number}.jpg": encoded(smooth(200 + number, 150, number)) for number in range(3)}
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        entry = tarfile.TarInfo("2.jpg")
        entry.size = len(pictures["2.jpg"])
        tar.addfile(entry, io.BytesIO(pictures["2.jpg"]))
    images = ["0.jpg", "more/1.jpg", "0.tar#2.jpg", "../secret.jpg", "/etc/hostname"]
    table = io.BytesIO()
    pq.write_table(pa.table({"id": list("abcde"), "image": images, "title": list("ABCDE")}), table)
    stored = {"0.jpg": pictures["0.jpg"], "more/1.jpg": pictures["1.jpg"], "0.tar": sink.getvalue()}
    objects = {f"job/{name}": raw for name, raw in stored.items()} | {"secret.jpg": pictures["0.jpg"]}
    bucket = filled_bucket("whole-job", objects | {"job/photos.parquet": table.getvalue()})
    job = make_job(tmp_path, start_standin().url, settings={"manifest": {"path": f"{bucket}/job/photos.parquet"}})
    summary = await run(job)
    assert (summary.items["succeeded"], summary.failures_by_type) == (3, {"image_refused": 2})
    found = rows(read_results(job.output))
    hashes = [found[item]["images"][0]["sha256"] for item in "abc"]
    assert hashes == [sha256(pictures[f"{number}.jpg"]).hexdigest() for number in range(3)]
    assert [found[item]["images"][0]["source"] for item in "abc"] == images[:3]
    (note,) = [json.loads(path.read_text()) for path in (job.output / "runs").iterdir()]
    assert note["image_root"] == f"{bucket}/job/"
    again = await run(job)
    assert (again.items["skipped"], again.requests["sent"]) == (5, 0)


async def test_every_caption_is_of_its_own_picture(tmp_path: Path, start_standin: Any) -> None:
    """The stand-in states the hash of what it saw; it is the hash of what was sent for that row."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=8)
    summary = await run(job)
    assert summary.exit_code == 0
    found = rows(read_results(job.output))
    assert set(found) == set(job.ids)
    for row in found.values():
        assert row["images"][0]["sent_sha256"][:12] in row["caption"]
        assert row["manifest"]["title"].startswith("Picture ")
        assert row["stop_reason"] == "end_turn"
        assert row["mode"] == "messages"


async def test_tokens_and_cost_are_the_same_in_results_requests_and_the_servers_log(
    tmp_path: Path, start_standin: Any
) -> None:
    """What was billed is what the dataset says, line by line and in sum."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=7)
    summary = await run(job)
    bill = billed(log_of(server))
    results, requests = read_results(job.output).to_pylist(), read_results(job.output, requests=True).to_pylist()
    for name in TOKENS:
        expected = sum(line[name] for line in bill)
        assert sum(row[name] for row in results) == sum(row[name] for row in requests) == expected
        assert summary.usage[name] == expected
    expected_usd = sum(line["cost_usd"] for line in bill)
    assert sum(row["cost_usd"] for row in requests) == pytest.approx(expected_usd, abs=1e-9)
    assert sum(row["cost_usd"] for row in results) == pytest.approx(expected_usd, abs=1e-9)
    assert {row["request_id"] for row in requests} == {line["request_id"] for line in bill}


async def test_a_second_run_sends_nothing_and_leaves_the_bytes_alone(tmp_path: Path, start_standin: Any) -> None:
    """Nothing to do is nothing done."""
    server = start_standin()
    job = make_job(tmp_path, server.url)
    await run(job)
    before, sent = content(job.output), len(answers(log_of(server)))
    summary = await run(job)
    assert (summary.exit_code, summary.items["skipped"], summary.requests["sent"]) == (0, len(job.ids), 0)
    assert len(answers(log_of(server))) == sent
    assert content(job.output) == before


async def test_a_bad_image_costs_its_row_alone_and_says_why(tmp_path: Path, start_standin: Any) -> None:
    """Missing, damaged and unknown files fail with their own type; their neighbours are captioned."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3)
    (tmp_path / "torn.jpg").write_bytes(encoded(smooth(300, 200))[:900])
    (tmp_path / "text.jpg").write_text("no picture")
    job.add_rows(["gone", "gone.jpg", "Gone"], ["torn", "torn.jpg", "Torn"], ["text", "text.jpg", "Text"])
    summary = await run(job)
    assert summary.exit_code == 1
    assert set(rows(read_results(job.output))) == set(job.ids)
    failed = rows(read_results(job.output, failures=True))
    assert {item: row["error_type"] for item, row in failed.items()} == {
        "gone": "image_missing",
        "torn": "image_corrupt",
        "text": "image_unsupported",
    }
    assert all(row["attempts"] == 0 and row["cost_usd"] == 0 for row in failed.values())
    assert failed["gone"]["manifest"] == {"title": "Gone"}
    assert "gone.jpg" in failed["gone"]["error_message"]


async def test_a_passing_fault_is_retried_and_each_attempt_is_a_row(tmp_path: Path, start_standin: Any) -> None:
    """429 and 529 are answered by another attempt; the bill has a line for each."""
    server = start_standin("529:at=2", "429:at=3,retry_after=0", "reset:at=4")
    job = make_job(tmp_path, server.url, images=5)
    summary = await run(job)
    assert summary.exit_code == 0
    assert summary.requests == {"sent": 8, "succeeded": 5, "retried": 3, "rate_limited": 1}
    requests = read_results(job.output, requests=True).to_pylist()
    assert sorted(str(row["http_status"]) for row in requests) == ["200"] * 5 + ["429", "529", "None"]
    assert all(row["input_tokens"] is None for row in requests if row["http_status"] is None)


@pytest.mark.parametrize("fault", ["401", "403", "402", "404", "spend_stop"])
async def test_an_answer_that_no_retry_mends_stops_the_run_with_3(
    tmp_path: Path, start_standin: Any, fault: str
) -> None:
    """Items stay pending, and the next run captions them."""
    server = start_standin(fault)
    job = make_job(tmp_path, server.url, images=12)
    summary = await run(job, "limits.concurrency=4")
    assert summary.exit_code == 3
    assert summary.items["failed"] == 0
    assert summary.items["pending"] == 12
    assert 1 <= summary.requests["sent"] <= 4
    server.service.faults = ()
    again = await run(job, "limits.concurrency=4")
    assert (again.exit_code, again.items["succeeded"]) == (0, 12)


async def test_a_refusal_is_a_failure_that_costs_nothing(tmp_path: Path, start_standin: Any) -> None:
    """A refusal with empty content is not billed, and is not retried."""
    server = start_standin("refusal:at=1")
    job = make_job(tmp_path, server.url, images=3)
    summary = await run(job)
    failed = read_results(job.output, failures=True).to_pylist()
    assert [row["error_type"] for row in failed] == ["refusal"]
    assert failed[0]["cost_usd"] == 0
    assert "general_harms" in failed[0]["error_message"]
    assert (failed[0]["http_status"], failed[0]["retryable"]) == (200, False)
    assert summary.requests["sent"] == 3


@pytest.mark.parametrize("fault", ["garbled", "html", "empty", "wrong_types", "huge_usage"])
async def test_an_unreadable_answer_fails_its_row_and_its_bytes_are_kept(
    tmp_path: Path, start_standin: Any, fault: str
) -> None:
    """It may have been paid for, so it is not asked again, and nothing received is thrown away."""
    server = start_standin(f"{fault}:at=2")
    job = make_job(tmp_path, server.url, images=4)
    summary = await run(job)
    assert (summary.exit_code, summary.items["succeeded"], summary.requests["sent"]) == (1, 3, 4)
    failed = read_results(job.output, failures=True).to_pylist()
    assert [row["error_type"] for row in failed] == ["bad_response"]
    kept = list((job.output / "_state" / "unreadable").iterdir())
    assert len(kept) == 1
    again = await run(job)
    assert again.requests["sent"] == 0


@pytest.mark.parametrize(
    ("fault", "warning"),
    [("no_usage", "no_usage"), ("empty_text", "empty_text"), ("unknown_block", "unknown_block:hologram")],
)
async def test_an_odd_answer_is_kept_and_flagged(tmp_path: Path, start_standin: Any, fault: str, warning: str) -> None:
    """What is there is kept, and the row says what was odd."""
    server = start_standin(f"{fault}:at=1")
    job = make_job(tmp_path, server.url, images=2)
    assert (await run(job)).exit_code == 0
    assert [row["warnings"] for row in read_results(job.output).to_pylist() if row["warnings"]] != []
    assert any(warning in row["warnings"] for row in read_results(job.output).to_pylist())


async def test_the_budget_holds_in_the_servers_own_bill(tmp_path: Path, start_standin: Any) -> None:
    """The bill never passes the budget, requests in flight included; the next run goes on."""
    server = start_standin(latency_s=(0.0, 0.02))
    job = make_job(tmp_path, server.url, images=20)
    budget = 0.0055
    summary = await run(job, f"limits.budget_usd={budget}", "limits.concurrency=8")
    assert summary.exit_code == 4
    bill = sum(line["cost_usd"] for line in billed(log_of(server)))
    assert 0 < bill <= budget
    assert summary.items["pending"] == 20 - summary.items["succeeded"] > 0
    again = await run(job)
    assert again.exit_code == 0
    assert again.items["succeeded"] + again.items["skipped"] == 20
    assert len(billed(log_of(server))) == 20


async def test_identical_requests_are_paid_for_once(tmp_path: Path, start_standin: Any) -> None:
    """The same picture under the same prompt is asked once, and copied to its other rows, later runs included."""
    server = start_standin(latency_s=(0.02, 0.05))
    job = make_job(tmp_path, server.url, images=2, settings={"prompt": {"user": "Describe."}})
    job.add_rows(*[[f"copy-{number}", "item-000.jpg", "Copy"] for number in range(5)])
    summary = await run(job)
    assert (summary.items["succeeded"], summary.items["reused"]) == (2, 5)
    assert len(billed(log_of(server))) == 2
    found = rows(read_results(job.output))
    copies = [found[name] for name in found if found[name]["mode"] == "reused"]
    assert len(copies) == 5
    assert len({row["caption"] for row in [*copies, found["copy-0"], found["item-000"]]}) == 1
    assert all(row["input_tokens"] == 0 and row["cost_usd"] == 0 for row in copies)
    job.add_rows(["late", "item-001.jpg", "Late"])
    later = await run(job)
    assert (later.items["reused"], later.requests["sent"]) == (1, 0)
    assert rows(read_results(job.output))["late"]["caption"] == found["item-001"]["caption"]


async def test_reuse_can_be_switched_off(tmp_path: Path, start_standin: Any) -> None:
    """`output.reuse = false` asks for every row."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1, settings={"prompt": {"user": "Describe."}})
    job.add_rows(["copy", "item-000.jpg", "Copy"])
    assert (await run(job, "output.reuse=false")).items["succeeded"] == 2


async def test_the_same_row_twice_is_one_item_and_the_same_id_with_other_images_fails(
    tmp_path: Path, start_standin: Any
) -> None:
    """Duplicates cost nothing; contradictions are named."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3)
    job.add_rows(["item-000", "item-000.jpg", "Picture 0"], ["item-001", "item-002.jpg", "Other"])
    summary = await run(job)
    assert (summary.items["total"], summary.items["succeeded"], summary.items["failed"]) == (4, 3, 1)
    assert summary.failures_by_type == {"duplicate_id": 1}
    again = await run(job)
    assert (again.items["skipped"], again.requests["sent"]) == (4, 0)


async def test_shards_are_a_partition_and_a_sample_is_stable(tmp_path: Path, start_standin: Any) -> None:
    """Each item is in one shard; the same sample is drawn each time; a limit takes the first."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=20)
    totals = [(await run(job, shard=(index, 3))).items for index in (1, 2, 3)]
    assert sum(items["total"] for items in totals) == 20
    assert all(items["succeeded"] == items["total"] for items in totals)
    sampled = await run(job, sample=5)
    assert (sampled.items["total"], sampled.items["skipped"]) == (5, 5)
    limited = await run(job, limit=4)
    assert limited.items["total"] == 4
    assert len(billed(log_of(server))) == 20


async def test_failed_items_wait_for_retry_failed_and_only_chooses_among_them(
    tmp_path: Path, start_standin: Any
) -> None:
    """What failed for good is not tried again unasked; once mended, its newest row is the success."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    (tmp_path / "text.jpg").write_text("no picture")
    job.add_rows(["gone", "gone.jpg", "Gone"], ["text", "text.jpg", "Text"])
    await run(job)
    (tmp_path / "gone.jpg").write_bytes(encoded(smooth(250, 250, 3)))
    assert (await run(job)).requests["sent"] == 0
    only = await run(job, retry_failed=True, only="image_missing")
    assert (only.items["succeeded"], only.items["failed"], only.items["skipped"]) == (1, 0, 3)
    assert only.exit_code == 1
    every = await run(job, retry_failed=True)
    assert (every.items["failed"], every.items["skipped"]) == (1, 3)
    assert set(rows(read_results(job.output, failures=True))) == {"text"}


async def test_a_passing_failure_is_taken_up_by_the_next_run_by_itself(tmp_path: Path, start_standin: Any) -> None:
    """A server that failed through every attempt leaves a retryable row; the next run needs no option."""
    server = start_standin("500")
    job = make_job(tmp_path, server.url, images=2, settings={"retry": {"max_attempts": 2, "max_wait_seconds": 0.01}})
    first = await run(job)
    assert (first.exit_code, first.items["failed"], first.requests["sent"]) == (1, 2, 4)
    assert all(row["retryable"] for row in read_results(job.output, failures=True).to_pylist())
    server.service.faults = ()
    second = await run(job)
    assert (second.exit_code, second.items["succeeded"]) == (0, 2)
    assert read_results(job.output, failures=True).num_rows == 0


async def test_a_server_that_is_not_there_fails_its_items_and_the_run_ends(tmp_path: Path, start_standin: Any) -> None:
    """Nobody listens: each item has its attempts, fails as a connection error, and the next run takes it up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        retry = {"max_attempts": 3, "max_wait_seconds": 0.02}
        job = make_job(tmp_path, f"http://127.0.0.1:{port}", images=12, settings={"retry": retry})
        first = await run(job)
    assert (first.exit_code, first.items["failed"], first.cost_usd) == (1, 12, 0)
    failed = read_results(job.output, failures=True).to_pylist()
    assert {(row["error_type"], row["retryable"], row["http_status"]) for row in failed} == {
        ("connection_error", True, None)
    }
    second = await run(job, f"api.base_url={start_standin().url}")
    assert (second.exit_code, second.items["succeeded"]) == (0, 12)


async def test_a_new_fingerprint_needs_leave_to_bill_again(tmp_path: Path, start_standin: Any) -> None:
    """Changed settings over answered items are refused with their number; leave is remembered."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3)
    await run(job)
    changed = "prompt.user=Name {{ title }}."
    with pytest.raises(ConfigError, match=r"3 items.*--accept-new-fingerprint") as refused:
        await run(job, changed)
    assert refused.value.exit_code == 2
    assert len(billed(log_of(server))) == 3
    part = await run(job, changed, options=RunOptions(Choice(limit=1), accept_new_fingerprint=True, signals=False))
    assert part.items["succeeded"] == 1
    rest = await run(job, changed)
    assert (rest.items["succeeded"], rest.items["skipped"]) == (2, 1)
    assert (await run(job)).requests["sent"] == 0
    assert len(billed(log_of(server))) == 6


async def test_a_new_fingerprint_over_new_items_alone_needs_no_leave(tmp_path: Path, start_standin: Any) -> None:
    """Nothing is billed again where no item of the manifest was answered before."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=4)
    await run(job, limit=2)
    other = make_job(tmp_path / "other", server.url, images=1, settings={"output": {"path": str(job.output)}})
    (other.folder / "photos.csv").write_text("id,image,title\nfresh,item-000.jpg,Fresh\n")
    assert (await run(other, "api.max_tokens=200")).items["succeeded"] == 1
    with pytest.raises(ConfigError, match="2 items"):
        await run(job, "api.max_tokens=200")


async def test_several_turns_carry_the_real_answers_along(tmp_path: Path, start_standin: Any) -> None:
    """The second turn is asked with the first one's answer, and both replies are kept."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2, settings={"prompt": {"user": ["Describe.", "Now in five words."]}})
    summary = await run(job)
    assert summary.requests["sent"] == 4
    for row in read_results(job.output).to_pylist():
        assert len(row["replies"]) == 2
        assert row["caption"] == row["replies"][-1]
        assert row["attempts"] == 2
    assert sorted(line["turns"] for line in billed(log_of(server))) == [1, 1, 2, 2]


async def test_a_conversation_resumes_at_the_turn_where_it_stopped(tmp_path: Path, start_standin: Any) -> None:
    """The paid first turn is not paid again when the second one stopped the run."""
    server = start_standin("401:match=five words")
    settings = {"prompt": {"user": ["Describe.", "Now in five words."]}, "limits": {"concurrency": 1}}
    job = make_job(tmp_path, server.url, images=1, settings=settings)
    assert (await run(job)).exit_code == 3
    server.service.faults = ()
    assert (await run(job)).exit_code == 0
    assert [line["turns"] for line in billed(log_of(server))] == [1, 2]
    row = read_results(job.output).to_pylist()[0]
    assert row["input_tokens"] == sum(line["input_tokens"] for line in billed(log_of(server)))


async def test_a_request_that_is_too_large_is_shrunk_once(tmp_path: Path, start_standin: Any) -> None:
    """A 413 is answered by smaller images, and the row says so."""
    server = start_standin("edge_413:at=1")
    job = make_job(tmp_path, server.url, images=1)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    image = read_results(job.output).to_pylist()[0]["images"][0]
    assert (image["width"], image["height"]) == (240, 200)
    assert image["sent_width"] <= 120
    assert "shrunk_for_request" in image["warnings"]
    assert billed(log_of(server))[0]["sizes"] == [[image["sent_width"], image["sent_height"]]]


async def test_a_second_413_fails_the_item(tmp_path: Path, start_standin: Any) -> None:
    """Shrinking is tried once and not for ever."""
    server = start_standin("413")
    job = make_job(tmp_path, server.url, images=1)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (1, 2)
    failed = read_results(job.output, failures=True).to_pylist()[0]
    assert (failed["error_type"], failed["attempts"], failed["retryable"]) == ("request_too_large", 2, False)


@pytest.mark.parametrize(("setting", "sent", "succeeded"), [("keep", 1, 1), ("fail", 1, 0), ("retry", 2, 1)])
async def test_a_truncated_answer_is_kept_failed_or_asked_again(
    tmp_path: Path, start_standin: Any, setting: str, sent: int, succeeded: int
) -> None:
    """`prompt.on_truncated` decides; every paid answer is in the row's tokens."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    summary = await run(job, "api.max_tokens=8", f"prompt.on_truncated={setting}")
    assert (summary.requests["sent"], summary.items["succeeded"]) == (sent, succeeded)
    table = read_results(job.output, failures=not succeeded)
    paid = sum(line["output_tokens"] for line in billed(log_of(server)))
    assert table["output_tokens"].to_pylist() == [paid]


async def test_prefill_stands_at_the_head_of_the_caption(tmp_path: Path, start_standin: Any) -> None:
    """Its trailing white space is dropped before it is sent, and it opens the caption."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1, settings={"prompt": {"prefill": "The picture shows "}})
    assert (await run(job)).exit_code == 0
    caption = read_results(job.output).to_pylist()[0]["caption"]
    assert caption.startswith("The picture shows")
    assert not caption.startswith("The picture shows  ")


async def test_text_alone_needs_no_image_column(tmp_path: Path, start_standin: Any) -> None:
    """`manifest.image_column = ""` asks about the row's text."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2, settings={"manifest": {"image_column": ""}})
    path = job.folder / "photos.csv"
    path.write_text("id,title\na,One\nb,Two\n")
    config = job.config(f"manifest.path={path}")
    summary = await run_job(plan_run(config, KEY), RunOptions(signals=False))
    assert summary.items["succeeded"] == 2
    assert all(not line["images"] for line in billed(log_of(server)))


async def test_a_template_that_fails_for_a_row_costs_that_row(tmp_path: Path, start_standin: Any) -> None:
    """An undefined variable is named; the neighbours are captioned."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2, settings={"prompt": {"user": "{{ 10 // (title | int) }}"}})
    job.add_rows(["good", "item-000.jpg", "5"])
    summary = await run(job)
    assert summary.failures_by_type == {"prompt_error": 2}
    assert summary.items["succeeded"] == 1


async def test_a_variable_without_a_column_is_found_before_anything_is_sent(tmp_path: Path, start_standin: Any) -> None:
    """The message names the variable and the columns that there are; no output is made."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1, settings={"prompt": {"user": "{{ titel }}"}})
    with pytest.raises(ConfigError, match=r"titel.*title"):
        await run(job)
    assert not job.output.exists()


async def test_another_run_on_the_same_output_is_refused(tmp_path: Path, start_standin: Any) -> None:
    """The output has one writer at a time."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    plan = plan_run(job.config(), KEY)
    with open_dataset(plan.dataset), pytest.raises(OutputHeldError):
        await run_job(plan, RunOptions(signals=False))


async def test_a_manifest_damaged_midway_keeps_what_came_before_and_never_ends_with_0(
    tmp_path: Path, start_standin: Any
) -> None:
    """A Parquet file with a damaged row group ends the run with 1 and says where; rows before it are settled."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    path = tmp_path / "photos.parquet"
    names = [f"row-{number}" for number in range(1600)]
    table = pa.table({"id": names, "image": ["item-000.jpg"] * 1600, "title": ["Same"] * 1600})
    pq.write_table(table, path, row_group_size=200, compression="none", use_dictionary=False, write_page_checksum=True)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"row-1450")
    raw[place : place + 8] = b"\xff" * 8
    path.write_bytes(bytes(raw))
    summary = await run(job, f"manifest.path={path}")
    assert summary.exit_code == 1
    assert summary.reason is not None
    assert "photos.parquet" in summary.reason
    assert 0 < summary.items["succeeded"] + summary.items["reused"] < 1600
    assert len(billed(log_of(server))) == 1


async def test_the_runs_file_tells_what_ran(tmp_path: Path, start_standin: Any) -> None:
    """Effective configuration, versions, totals and exit of a run stand in `runs/`."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    summary = await run(job)
    note = json.loads((job.output / "runs" / f"{summary.run_id}.json").read_text())
    assert note["exit_code"] == 0
    assert note["items"]["succeeded"] == 2
    assert note["config"]["api"]["model"] == "claude-haiku-4-5"
    assert note["config"]["retry"]["max_attempts"] == 8
    assert {"python", "pipeline", "pyarrow"} <= note["versions"].keys()


async def test_concurrency_is_kept(tmp_path: Path, start_standin: Any) -> None:
    """Never more requests in flight than `limits.concurrency`, by the server's own count."""
    server = start_standin(latency_s=(0.01, 0.03))
    job = make_job(tmp_path, server.url, images=20)
    assert (await run(job, "limits.concurrency=3")).exit_code == 0
    assert server.service.counts["peak_in_flight"] == 3


async def test_a_deadline_ends_in_good_order_and_the_next_run_goes_on(tmp_path: Path, start_standin: Any) -> None:
    """`--max-runtime` sends nothing new, keeps what was in flight, exits 4."""
    server = start_standin(latency_s=(0.05, 0.05))
    job = make_job(tmp_path, server.url, images=30)
    options = RunOptions(max_runtime_s=0.4, signals=False)
    first = await run(job, "limits.concurrency=1", options=options)
    assert first.exit_code == 4
    assert 0 < first.items["pending"] < 30
    second = await run(job)
    assert second.exit_code == 0
    assert len(billed(log_of(server))) == 30


async def test_thumbnails_are_a_column_where_asked_for(tmp_path: Path, start_standin: Any) -> None:
    """`output.thumbnail_edge` above 0 adds a small WebP."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    await run(job, "output.thumbnail_edge=64")
    assert read_results(job.output)["thumbnail"].to_pylist()[0][8:12] == b"WEBP"
