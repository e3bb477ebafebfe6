"""`prompt.tools` in whole runs: calls, results, what they cost, and what becomes of a call that fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Job, make_job
from support.pictures import encoded, quadrants
from support.running import plan_of, run
from support.standins import answers, billed

from pipeline.errors import ConfigError
from pipeline.standin.server import StandinServer
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio


def job_with(folder: Path, server: StandinServer, user: Any, *tools: Any, images: int = 1, **prompt: Any) -> Job:
    """A job whose model may call these tools; the stand-in calls those that the prompt names."""
    return make_job(folder, server.url, images, {"prompt": {"user": user, "tools": list(tools), **prompt}})


async def test_zoom_shows_a_part_of_the_original_at_its_full_resolution(tmp_path: Path, start_standin: Any) -> None:
    """A quarter of a large picture comes back as large as it is, of the quadrant's own colour, and is paid for."""
    server = start_standin()
    job = job_with(tmp_path, server, "Describe it; zoom where text is small.", "zoom", images=0)
    (tmp_path / "large.png").write_bytes(encoded(quadrants(2400, 1800), "PNG"))
    job.add_rows(["large", "large.png", "x"])
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    [row] = read_results(job.output).to_pylist()
    assert "Image 2: a 1200x900 landscape picture; mostly #f0dc28" in row["caption"]  # right and bottom: yellow
    assert len(row["replies"]) == 1
    requests = sorted(read_results(job.output, requests=True).to_pylist(), key=lambda each: each["turn"])
    assert [(each["turn"], each["attempt"]) for each in requests] == [(1, 1), (2, 1)]
    bill = billed(server.options.log)
    for name in ("input_tokens", "output_tokens"):
        assert row[name] == sum(line[name] for line in bill)
    assert row["cost_usd"] == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)
    assert bill[1]["input_tokens"] > bill[0]["input_tokens"] + 1300
    assert row["attempts"] == 2


async def test_parallel_calls_are_answered_together(tmp_path: Path, start_standin: Any) -> None:
    """Two tools in one answer: one message with all results: text, JSON, images and the item's own columns."""
    server = start_standin()
    tools = ["support.toolbox:picture_of", "support.toolbox:describe_item", "support.toolbox:colour_of"]
    job = job_with(tmp_path, server, "Use picture_of, describe_item and colour_of.", *tools)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    [row] = read_results(job.output).to_pylist()
    assert "Image 2: a 80x60" in row["caption"]
    assert len(answers(server.options.log)[1]["images"]) == 2


async def test_a_tool_that_fails_is_told_to_the_model_and_costs_no_item(
    tmp_path: Path, start_standin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own error, a wrong input, an image that is not there: the conversation goes on, the log names the item."""
    server = start_standin()
    job = job_with(tmp_path, server, "Try fails, then zoom.", "support.toolbox:fails", "zoom", images=1)
    blank = tmp_path / "item-000.jpg"
    blank.unlink()
    blank.write_bytes(encoded(quadrants(64, 48)))
    assert (await run(job)).exit_code == 0
    assert len(answers(server.options.log)) == 2
    lines = [record for record in caplog.records if record.message.startswith("tool fails: RuntimeError")]
    assert {vars(line)["item_id"] for line in lines} == {"item-000"}


async def test_the_loop_is_bounded(tmp_path: Path, start_standin: Any) -> None:
    """A model that goes in circles is asked at last without the right to call, and answers."""
    server = start_standin()
    job = job_with(tmp_path, server, "zoom, and keep calling", "zoom", max_tool_turns=3)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 4)
    [row] = read_results(job.output).to_pylist()
    assert row["stop_reason"] == "end_turn"
    assert "picture" in row["caption"]


async def test_a_run_that_resumes_pays_for_no_turn_twice(tmp_path: Path, start_standin: Any) -> None:
    """The paid turns are read again, their tools are called again, and only the rest is sent."""
    server = start_standin("401:at=3")
    job = job_with(tmp_path, server, "zoom, and keep calling", "zoom", max_tool_turns=3)
    assert (await run(job)).exit_code == 3
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    [row] = read_results(job.output).to_pylist()
    bill = billed(server.options.log)
    assert len(bill) == 4
    assert row["cost_usd"] == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)


async def test_tools_and_schema_go_together_over_several_turns(tmp_path: Path, start_standin: Any) -> None:
    """Each text of the user may lead to calls; the last one is answered by the schema."""
    server = start_standin()
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "object", "properties": {"caption": {"type": "string"}}}))
    texts = ["Use zoom to look.", "Describe it, zoom again."]
    job = job_with(tmp_path, server, texts, "zoom", schema=str(path))
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 4)
    [row] = read_results(job.output).to_pylist()
    assert len(row["replies"]) == 2
    assert "Image 2" in row["data"]["caption"]


async def test_the_service_s_own_tools_pass_through_to_a_handler(tmp_path: Path, start_standin: Any) -> None:
    """The definition is sent as it is, without the handler, which gets the input and may answer with a picture."""
    server = start_standin()
    job = job_with(tmp_path, server, "Look with the computer.")
    own = "{type='computer_20251124', name='computer', display_width_px=1024, display_height_px=768, handler='%s'}"
    entry = f"prompt.tools=[{own % 'support.toolbox:operate'}]"
    definition = plan_of(job, entry).settings(last=True)["tools"]
    assert definition == [
        {"type": "computer_20251124", "name": "computer", "display_width_px": 1024, "display_height_px": 768}
    ]
    summary = await run(job, entry)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    assert len(answers(server.options.log)[1]["images"]) == 2


async def test_no_more_images_are_sent_than_a_model_takes(tmp_path: Path, start_standin: Any) -> None:
    """A result beyond that is an error to the model, never a request that the service refuses."""
    server = start_standin()
    job = job_with(tmp_path, server, "zoom, and keep calling", "zoom")
    summary = await run(job, 'models."claude-haiku-4-5".max_images=3')
    assert (summary.exit_code, summary.items["failed"]) == (0, 0)
    assert max(len(line["images"]) for line in answers(server.options.log)) == 3


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({"prefill": "A"}, "prompt.prefill: cannot be combined with prompt.tools"),
        ({"schema": "schema.json", "schema_via": "tool"}, "prompt.schema_via: a forced tool"),
    ],
)
def test_what_does_not_go_with_tools_is_refused(tmp_path: Path, prompt: dict[str, str], said: str) -> None:
    """Before anything is sent, with the remedy."""
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}))
    given = {name: str(tmp_path / text) if name == "schema" else text for name, text in prompt.items()}
    job = make_job(tmp_path, "http://127.0.0.1:9", 1, {"prompt": {"tools": ["zoom"], **given}})
    with pytest.raises(ConfigError, match=said):
        plan_of(job)
