"""Whole runs with `prompt.schema`: typed columns, answers that do not fit, and what they cost."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.jobs import Job, make_job
from support.running import run
from support.standins import answers, billed

from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "minLength": 3},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "mood": {"enum": ["Calm", "Lively"]},
        "people": {"type": "integer", "minimum": 0},
    },
    "required": ["caption", "tags", "mood"],
}
STRICT = {**SCHEMA, "properties": {**SCHEMA["properties"], "tags": {**SCHEMA["properties"]["tags"], "minItems": 2}}}
"""The stand-in answers one tag, and a grammar cannot ask for two."""


def job_with(folder: Path, url: str, schema: Any, images: int = 3, **prompt: Any) -> Job:
    """A job whose schema stands in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "schema.json"
    path.write_text(json.dumps(schema))
    return make_job(folder, url, images=images, settings={"prompt": {"schema": str(path), **prompt}})


@pytest.mark.parametrize("via", ["output", "tool"])
async def test_answers_become_a_typed_struct(tmp_path: Path, start_standin: Any, via: str) -> None:
    """A notebook reads `data.tags`; the caption is the JSON text; both ways to ask end in the same columns."""
    server = start_standin()
    job = job_with(tmp_path, server.url, SCHEMA, schema_via=via)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 3)
    table = read_results(job.output)
    expected = {"caption": pa.string(), "tags": pa.list_(pa.string()), "mood": pa.string(), "people": pa.int64()}
    assert {field.name: field.type for field in table.schema.field("data").type} == expected
    for row in table.to_pylist():
        assert row["images"][0]["sent_sha256"][:12] in row["data"]["caption"]
        assert row["data"]["mood"] == "Calm"
        assert json.loads(row["caption"]) == row["data"]
        assert row["replies"] == [row["caption"]]
        assert row["stop_reason"] == ("tool_use" if via == "tool" else "end_turn")
        assert row["warnings"] == []


async def test_only_the_last_turn_answers_by_the_schema(tmp_path: Path, start_standin: Any) -> None:
    """What comes before it is prose, and stays in the conversation."""
    server = start_standin()
    job = job_with(tmp_path, server.url, SCHEMA, images=1, user=["Look.", "Record it."], schema_via="tool")
    assert (await run(job)).exit_code == 0
    [row] = read_results(job.output).to_pylist()
    first, last = row["replies"]
    assert not first.startswith("{")
    assert json.loads(last) == row["data"]


async def test_an_answer_that_does_not_fit_is_asked_again_and_each_is_billed(
    tmp_path: Path, start_standin: Any
) -> None:
    """Two attempts of one turn: two rows in the bill, their sum in the result, and a warning."""
    server = start_standin("unknown_block:at=1")
    job = job_with(tmp_path, server.url, SCHEMA, images=1)
    summary = await run(job)
    assert summary.exit_code == 0
    [row] = read_results(job.output).to_pylist()
    assert row["attempts"] == 2
    assert "schema_retried" in row["warnings"]
    requests = sorted(read_results(job.output, requests=True).to_pylist(), key=lambda each: each["attempt"])
    assert [(each["turn"], each["attempt"]) for each in requests] == [(1, 1), (1, 2)]
    bill = billed(server.options.log)
    assert row["cost_usd"] == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)
    assert row["output_tokens"] == sum(line["output_tokens"] for line in bill)


@pytest.mark.parametrize("retries", [0, 2])
async def test_what_never_fits_fails_with_its_text(tmp_path: Path, start_standin: Any, retries: int) -> None:
    """It is asked so often and no more; the failure says what is wrong, what was said, and what it cost."""
    server = start_standin()
    job = job_with(tmp_path, server.url, STRICT, images=2, schema_retries=retries)
    summary = await run(job)
    assert (summary.exit_code, summary.failures_by_type) == (1, {"schema_mismatch": 2})
    for row in read_results(job.output, failures=True).to_pylist():
        assert row["attempts"] == retries + 1
        assert not row["retryable"]
        assert "tags: " in row["error_message"]
        assert row["images"][0]["sent_sha256"][:12] in row["error_message"]
    bill = billed(server.options.log)
    assert len(bill) == 2 * (retries + 1)
    assert summary.cost_usd == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)


@pytest.mark.parametrize(
    ("fault", "error_type", "sent"),
    [("refusal", "refusal", 1), ("refusal:text=I would rather", "refusal", 1), ("thinking_only", "schema_mismatch", 1)],
)
async def test_refused_and_cut_off_answers_are_not_read_as_json(
    tmp_path: Path, start_standin: Any, fault: str, error_type: str, sent: int
) -> None:
    """Neither promises to fit, and the same request would end the same way."""
    server = start_standin(fault)
    job = job_with(tmp_path, server.url, SCHEMA, images=1, schema_retries=3)
    assert (await run(job)).failures_by_type == {error_type: 1}
    assert len(answers(server.options.log)) == sent


async def test_a_cut_off_answer_may_be_asked_with_a_larger_cap(tmp_path: Path, start_standin: Any) -> None:
    """`on_truncated = "retry"` holds for structured answers too, and the whole one is what is read."""
    server = start_standin("thinking_only:at=1")
    job = job_with(tmp_path, server.url, SCHEMA, images=1, on_truncated="retry")
    assert (await run(job)).exit_code == 0
    [row] = read_results(job.output).to_pylist()
    assert (row["attempts"], row["data"]["mood"]) == (2, "Calm")


async def test_a_reused_answer_brings_its_struct(tmp_path: Path, start_standin: Any) -> None:
    """Identical pictures are paid for once, and every row has its data."""
    server = start_standin()
    job = job_with(tmp_path, server.url, SCHEMA, images=1, user="Describe it.")
    for number in range(3):
        job.add_rows([f"copy-{number}", "item-000.jpg", "x"])
    await run(job)
    job.add_rows(["later", "item-000.jpg", "x"])  # and from a part
    await run(job)
    rows = read_results(job.output).to_pylist()
    assert len(rows) == 5
    assert len({json.dumps(row["data"], sort_keys=True) for row in rows}) == 1
    assert rows[0]["data"]["mood"] == "Calm"
    assert len(answers(server.options.log)) == 1


async def test_a_resumed_item_counts_the_answer_that_did_not_fit(tmp_path: Path, start_standin: Any) -> None:
    """The run stopped between the two attempts: the next sends the second alone, and the row costs both."""
    server = start_standin("unknown_block:at=1", "401:at=2")
    job = job_with(tmp_path, server.url, SCHEMA, images=1)
    assert (await run(job)).exit_code == 3
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 1)
    [row] = read_results(job.output).to_pylist()
    assert row["output_tokens"] == sum(line["output_tokens"] for line in billed(server.options.log))
    assert len(billed(server.options.log)) == 2


async def test_paid_answers_are_read_before_any_is_asked_for(tmp_path: Path, start_standin: Any) -> None:
    """With fewer retries than before, the second answer that was paid for is used all the same."""
    server = start_standin("unknown_block:at=1", "unknown_block:at=2", "401:at=3")
    job = job_with(tmp_path, server.url, SCHEMA, images=1, schema_retries=2)
    assert (await run(job)).exit_code == 3
    assert (await run(job, "prompt.schema_retries=0")).failures_by_type == {"schema_mismatch": 1}
    [row] = read_results(job.output, failures=True).to_pylist()
    assert len(answers(server.options.log)) == 3
    assert row["cost_usd"] == pytest.approx(sum(line["cost_usd"] for line in billed(server.options.log)), abs=1e-12)
