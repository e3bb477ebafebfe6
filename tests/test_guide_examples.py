"""The examples of the service's two guides, re-made as configurations: each sends the body that its guide shows."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.recording import Recording
from support.running import KEY

from pipeline.config import load_config
from pipeline.engines.estimating import run_estimate
from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.faces.estimate import estimate_text
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "configs" / "examples"
BASE64 = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "..."}}
ANT = "https://upload.wikimedia.org/wikipedia/commons/a/a7/Camponotus_flavomarginatus_ant.jpg"
CAPTION = "<the answer that came>"


def text(words: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


def said(role: str, *content: Any) -> dict[str, Any]:
    """A message; one text alone is a string, as the guides write it."""
    [first, *more] = content
    return {"role": role, "content": first if isinstance(first, str) and not more else list(content)}


def asked(*messages: dict[str, Any], max_tokens: int = 1024, **more: Any) -> dict[str, Any]:
    """A body as the guides show it."""
    return {"model": "claude-sonnet-4-5", "max_tokens": max_tokens, **more, "messages": list(messages)}


DIFFERENT = said("user", text("Image 1:"), BASE64, text("Image 2:"), BASE64, text("How are these images different?"))
LATIN = "What is latin for Ant? (A) Apoidea, (B) Rhopalocera, (C) Formicidae"
EYES = said("user", BASE64, text("Describe this image. Use zoom to look at the eyes."))
SENT_SCHEMA = {
    "type": "object",
    "required": ["caption", "tags", "season"],
    "properties": {
        "caption": {"type": "string", "description": "(maxLength: 400)"},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "(maxItems: 8)"},
        "season": {"enum": ["spring", "summer", "autumn", "winter", "unknown"]},
    },
    "additionalProperties": False,
}
SHOWN: dict[str, list[dict[str, Any]]] = {
    "vision-base64": [asked(said("user", BASE64, text("Describe this image.")))],
    "vision-url": [
        asked(said("user", {"type": "image", "source": {"type": "url", "url": ANT}}, text("Describe this image.")))
    ],
    "vision-file": [
        asked(
            said(
                "user",
                {"type": "image", "source": {"type": "file", "file_id": "file_..."}},
                text("Describe this image."),
            )
        )
    ],
    "vision-multiple": [asked(DIFFERENT)],
    "vision-multiple-system": [asked(DIFFERENT, system="Respond only in Spanish.")],
    "vision-four-images-two-turns": [
        asked(DIFFERENT),
        asked(
            DIFFERENT,
            said("assistant", CAPTION),
            said(
                "user",
                *(text("Image 1:"), BASE64, text("Image 2:"), BASE64),
                text("Are these images similar to the first two?"),
            ),
        ),
    ],
    "vision-cost": [asked(said("user", BASE64, text("Describe this image.")))] * 3,
    "messages-basic": [asked(said("user", "Hello, Claude"))],
    "messages-turns": [
        asked(said("user", "Hello, Claude")),
        asked(
            said("user", "Hello, Claude"),
            said("assistant", CAPTION),
            said("user", "Can you describe LLMs to me?"),
        ),
    ],
    "messages-prefill": [asked(said("user", LATIN), said("assistant", "The answer is ("), max_tokens=1)],
    "messages-vision": [asked(said("user", BASE64, text("What is in the above image?")))],
    "messages-structured": [
        asked(
            said("user", BASE64, text("Describe this image.")),
            output_config={"format": {"type": "json_schema", "schema": SENT_SCHEMA}},
        )
    ],
    "messages-tools": [
        asked(EYES, tools=["..."]),
        asked(
            EYES,
            said("assistant", {"type": "tool_use", "id": "toolu_...", "name": "zoom", "input": "..."}),
            said("user", {"type": "tool_result", "tool_use_id": "toolu_...", "is_error": False, "content": [BASE64]}),
            tools=["..."],
        ),
    ],
}


@dataclass(frozen=True)
class Ran:
    """What an example sent, and what it left."""

    bodies: list[dict[str, Any]]
    rows: list[dict[str, Any]]


async def ran(name: str, output: Path, url: str) -> Ran:
    """Runs an example as it stands, but for where it asks and writes."""
    config = load_config(FOLDER / f"{name}.toml", [f"output.path={output}"], {})
    with Recording(url) as recording:
        plan = plan_run(
            config.model_copy(update={"api": config.api.model_copy(update={"base_url": recording.url})}), KEY
        )
        summary = await run_job(plan, RunOptions(signals=False))
    assert (summary.exit_code, summary.items["failed"]) == (0, 0)
    return Ran(recording.bodies, read_results(output).to_pylist())


def shortened(value: Any, replies: list[str]) -> Any:
    """A body with what differs from run to run in the guides' own shorthand."""
    if isinstance(value, dict):
        kept = {key: shortened(part, replies) for key, part in value.items()}
        if kept.get("type") == "base64":
            kept |= {"data": "...", "media_type": "image/jpeg"}
        if kept.get("type") == "tool_use":
            kept["input"] = "..."
        for key, prefix in (("file_id", "file_"), ("id", "toolu_"), ("tool_use_id", "toolu_")):
            if key in kept:
                assert re.fullmatch(rf"{prefix}\w+", kept[key])
                kept[key] = f"{prefix}..."
        return kept | ({"tools": ["..."]} if "tools" in kept else {})
    if isinstance(value, list):
        return [shortened(part, replies) for part in value]
    return CAPTION if value in replies else value


def pictures(value: Any) -> Iterator[dict[str, Any]]:
    """Every base64 source within a body."""
    if isinstance(value, dict):
        if value.get("type") == "base64":
            yield value
        for part in value.values():
            yield from pictures(part)
    elif isinstance(value, list):
        for part in value:
            yield from pictures(part)


def test_every_example_is_held_against_its_guide() -> None:
    """No configuration in the folder is without a body here."""
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
async def test_an_example_sends_what_the_guide_shows_and_lands_in_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_standin: Any, name: str
) -> None:
    """Field by field, in order; the pictures are the manifest's, and each reply is in its row."""
    monkeypatch.chdir(ROOT)
    found = await ran(name, tmp_path / "out", start_standin().url)
    replies = [reply for row in found.rows for reply in row["replies"]]
    assert [shortened(body, replies) for body in found.bodies] == SHOWN[name]
    assert all(list(body)[-1] == "messages" for body in found.bodies)
    sent = {image["sent_sha256"]: image["sent_media_type"] for row in found.rows for image in row["images"]}
    for source in pictures([body["messages"] for body in found.bodies if name != "messages-tools"]):
        assert source["media_type"] == sent[sha256(b64decode(source["data"])).hexdigest()]
    assert len(found.rows) == (3 if name == "vision-cost" else 1)
    assert all(row["caption"] and row["caption"] == row["replies"][-1] for row in found.rows)


async def test_a_prefill_stands_at_the_head_of_the_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_standin: Any
) -> None:
    """The service answers the continuation alone."""
    monkeypatch.chdir(ROOT)
    [row] = (await ran("messages-prefill", tmp_path / "out", start_standin().url)).rows
    assert row["caption"].startswith("The answer is (")


async def test_structured_answers_have_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_standin: Any
) -> None:
    """Typed, and equal to the JSON text of the caption."""
    monkeypatch.chdir(ROOT)
    [row] = (await ran("messages-structured", tmp_path / "out", start_standin().url)).rows
    assert set(row["data"]) == {"caption", "tags", "season"}
    assert json.loads(row["caption"]) == row["data"]


async def test_the_guide_s_image_costs_are_printed_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """200, 1000 and 1092 px square at $3 per million tokens: estimated from the files, and by the guide's own rule."""
    monkeypatch.chdir(ROOT)
    plan = plan_run(load_config(FOLDER / "vision-cost.toml", [], {}), {})
    found = await run_estimate(plan)
    assert (found.items, found.image_tokens, found.seed_image_tokens) == (3, 64 + 1296 + 1521, 53 + 1333 + 1590)
    lines = [" ".join(line.split()) for line in estimate_text(found, plan.model).splitlines()]
    assert "1092 x 1092 1,521 tokens $0.004563 1,590 tokens $0.004770" in lines


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without a key: it asks the stand-in that runs inside the command."""
    monkeypatch.chdir(ROOT)
    assert plan_run(load_config(FOLDER / f"{name}.toml", [], {}), {}).is_embedded
