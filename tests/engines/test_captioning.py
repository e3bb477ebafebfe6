"""One item asked, turn by turn, to its outcome, over real HTTP: the server's log says what was paid."""

from pathlib import Path
from typing import Any

import pytest
from support.jobs import make_job
from support.running import by_id, run
from support.standins import answers, billed

from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
TWO_TURNS = {"prompt": {"user": ["Describe {{ title }}.", "Now in five words."]}}


async def test_a_conversations_bill_is_the_sum_of_its_turns(tmp_path: Path, start_standin: Any) -> None:
    """Attempts of every turn count, tokens and cost of every answer, and the last answer names the message."""
    server = start_standin("529:at=1", "500:at=3")
    job = make_job(tmp_path, server.url, images=1, settings=TWO_TURNS)
    summary = await run(job)
    assert summary.requests["sent"] == 4
    row = read_results(job.output).to_pylist()[0]
    bill = billed(server.options.log)
    assert row["attempts"] == 4
    assert row["input_tokens"] == sum(line["input_tokens"] for line in bill)
    assert row["cost_usd"] == pytest.approx(sum(line["cost_usd"] for line in bill))
    assert row["request_id"] == bill[-1]["request_id"]
    requests = read_results(job.output, requests=True).to_pylist()
    assert sorted((line["turn"], line["attempt"]) for line in requests) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert row["latency_ms"] > 0


async def test_a_conversation_that_fails_late_keeps_the_bill_of_its_start(tmp_path: Path, start_standin: Any) -> None:
    """The first turn was paid for: the failure row has its tokens, reply and attempts."""
    server = start_standin("refusal:at=2")
    job = make_job(tmp_path, server.url, images=1, settings=TWO_TURNS)
    summary = await run(job)
    assert summary.failures_by_type == {"refusal": 1}
    row = read_results(job.output, failures=True).to_pylist()[0]
    bill = billed(server.options.log)
    assert len(bill) == 1
    assert (row["input_tokens"], row["output_tokens"]) == (bill[0]["input_tokens"], bill[0]["output_tokens"])
    assert row["cost_usd"] == pytest.approx(bill[0]["cost_usd"])
    assert (row["attempts"], row["http_status"]) == (2, 200)


async def test_a_turn_without_text_ends_a_conversation_unless_it_is_the_last(
    tmp_path: Path, start_standin: Any
) -> None:
    """There is nothing to go on from; an empty last answer is an answer, and flagged."""
    server = start_standin("empty_text:at=1")
    job = make_job(tmp_path / "first", server.url, images=1, settings=TWO_TURNS)
    await run(job)
    row = read_results(job.output, failures=True).to_pylist()[0]
    assert (row["error_type"], row["attempts"]) == ("bad_response", 1)
    assert "turn 1 was answered without text" in row["error_message"]
    assert len(answers(server.options.log)) == 1
    server = start_standin("empty_text:at=2")
    job = make_job(tmp_path / "last", server.url, images=1, settings=TWO_TURNS)
    assert (await run(job)).exit_code == 0
    assert "empty_text" in read_results(job.output).to_pylist()[0]["warnings"]


async def test_a_truncated_answer_is_not_paid_twice_where_no_larger_one_can_be_had(
    tmp_path: Path, start_standin: Any
) -> None:
    """At the model's own limit a second question would be the same question."""
    server = start_standin()
    settings = {
        "api": {"max_tokens": 8},
        "prompt": {"on_truncated": "retry"},
        'models."claude-haiku-4-5"': {"max_output_tokens": 8},
    }
    job = make_job(tmp_path, server.url, images=1, settings=settings)
    summary = await run(job)
    assert (summary.requests["sent"], summary.items["succeeded"]) == (1, 1)
    assert "truncated" in read_results(job.output).to_pylist()[0]["warnings"]


async def test_a_truncated_answer_of_an_earlier_run_is_asked_again_once(tmp_path: Path, start_standin: Any) -> None:
    """The paid short answer is taken from the journal; only the longer one is asked for."""
    server = start_standin("401:at=2")
    settings = {"api": {"max_tokens": 8}, "prompt": {"on_truncated": "retry"}, "limits": {"concurrency": 1}}
    job = make_job(tmp_path, server.url, images=1, settings=settings)
    assert (await run(job)).exit_code == 3
    again = await run(job)
    assert (again.exit_code, again.requests["sent"]) == (0, 1)
    row = read_results(job.output).to_pylist()[0]
    bill = billed(server.options.log)
    assert len(bill) == 2
    assert row["output_tokens"] == sum(line["output_tokens"] for line in bill)


async def test_whoever_waited_for_an_identical_question_asks_it_when_that_one_fails(
    tmp_path: Path, start_standin: Any
) -> None:
    """A failure is nothing to copy: the next one asks, and the others copy its answer."""
    server = start_standin("400:at=1", latency_s=(0.02, 0.02))
    job = make_job(tmp_path, server.url, images=1, settings={"prompt": {"user": "Describe."}})
    job.add_rows(*[[f"copy-{number}", "item-000.jpg", "Same"] for number in range(4)])
    summary = await run(job)
    items = summary.items
    assert (items["failed"], items["succeeded"], items["reused"]) == (1, 1, 3)
    assert len(answers(server.options.log)) == 2


async def test_the_same_picture_under_another_text_is_another_question(tmp_path: Path, start_standin: Any) -> None:
    """What is copied is an answer to the same images and the same words."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    job.add_rows(["other", "item-000.jpg", "Another title"])
    assert (await run(job)).items["reused"] == 0
    assert len(billed(server.options.log)) == 2


async def test_a_copied_answer_names_its_own_item_and_image(tmp_path: Path, start_standin: Any) -> None:
    """Everything but the caption is the row's own; it costs nothing."""
    server = start_standin()
    settings = {"prompt": {"user": ["One.", "Two."]}, "output": {"thumbnail_edge": 16}}
    job = make_job(tmp_path, server.url, images=1, settings=settings)
    (tmp_path / "twin.jpg").write_bytes((tmp_path / "item-000.jpg").read_bytes())
    job.add_rows(["twin", "twin.jpg", "The twin"])
    await run(job)
    found = by_id(read_results(job.output))
    copied = next(row for row in found.values() if row["mode"] == "reused")
    asked = next(row for row in found.values() if row["mode"] == "messages")
    for name in ("caption", "replies", "stop_reason", "model", "message_id", "request_id", "thumbnail"):
        assert copied[name] == asked[name] is not None
    assert {found["item-000"]["images"][0]["source"], found["twin"]["images"][0]["source"]} == {
        "item-000.jpg",
        "twin.jpg",
    }
    assert (copied["attempts"], copied["cost_usd"], copied["output_tokens"]) == (0, 0, 0)
    assert found["twin"]["manifest"] == {"title": "The twin"}


async def test_thumbnails_are_small_webp_and_absent_unless_asked_for(tmp_path: Path, start_standin: Any) -> None:
    """A reader of the dataset can look at it without the originals."""
    server = start_standin()
    job = make_job(tmp_path / "with", server.url, images=1, settings={"output": {"thumbnail_edge": 32}})
    await run(job)
    thumbnail = read_results(job.output).to_pylist()[0]["thumbnail"]
    assert (thumbnail[:4], thumbnail[8:12]) == (b"RIFF", b"WEBP")
    plain = make_job(tmp_path / "without", server.url, images=1)
    await run(plain)
    assert "thumbnail" not in read_results(plain.output).column_names


async def test_a_shrunk_request_counts_both_attempts(tmp_path: Path, start_standin: Any) -> None:
    """The refused one cost nothing, and is told."""
    server = start_standin("413:at=1")
    job = make_job(tmp_path, server.url, images=1, settings=TWO_TURNS)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 3)
    row = read_results(job.output).to_pylist()[0]
    assert row["attempts"] == 3
    sizes = [line["sizes"] for line in billed(server.options.log)]
    assert sizes[0] == sizes[1] == [[row["images"][0]["sent_width"], row["images"][0]["sent_height"]]]


async def test_a_budget_that_is_too_small_for_one_request_sends_none(tmp_path: Path, start_standin: Any) -> None:
    """The worst that a request may cost is reserved before it leaves."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    summary = await run(job, "limits.budget_usd=0.0001")
    assert (summary.exit_code, summary.requests["sent"], summary.items["pending"]) == (4, 0, 2)
    assert answers(server.options.log) == []
