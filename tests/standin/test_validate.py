"""Whole bodies: the order of the checks, and what is taken out of those that pass."""

import json
from typing import Any

import pytest
from support.asking import image_block, message_body, picture

from pipeline.standin.problems import Problem
from pipeline.standin.validate import MAX_BODY, Asked, read_body

VERSION = "2023-06-01"
LIMIT = 5_242_880


def read(body: Any, *, version: str = VERSION, counting: bool = False) -> Asked:
    """What is asked by a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_body(raw, version, LIMIT, counting=counting)


def refused(body: Any, **options: Any) -> Problem:
    """How a body is refused."""
    with pytest.raises(Problem) as caught:
        read(body, **options)
    return caught.value


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "valid JSON"),
        (b"[" * 100_000, 400, "valid JSON"),
        (b"\xff\xfe", 400, "valid JSON"),
        ([], 400, "JSON object"),
        (message_body(model=None), 400, "model: Field required"),
        (message_body(max_tokens=None), 400, "max_tokens: Field required"),
        (message_body(messages=None), 400, "messages: Field required"),
        (message_body(model=7), 400, "model"),
        (message_body(max_tokens="300"), 400, "max_tokens"),
        (message_body(max_tokens=True), 400, "max_tokens"),
        (message_body(max_tokens=-1), 400, "max_tokens"),
        (message_body(max_tokens=64_001), 400, "64000"),
        (message_body(prompt="x"), 400, "prompt: Extra inputs"),
        (message_body(model="claude-2"), 404, "model: claude-2"),
        (message_body(messages="hello"), 400, "messages"),
        (message_body("x" * 900_000), 400, "prompt is too long"),
    ],
)
def test_a_bad_body_is_refused_by_name(body: Any, status: int, word: str) -> None:
    """Each has its status, and a message that says what is wrong."""
    problem = refused(body)
    assert problem.status == status
    assert word in problem.message


def test_a_body_over_the_limit_is_the_edge_s_business() -> None:
    """More than 32 MB never reaches the service, whatever it holds; exactly 32 MB does."""
    assert refused(b" " * (MAX_BODY + 1)).bare
    assert not refused(b" " * MAX_BODY).bare


def test_checks_come_in_the_documented_order() -> None:
    """With everything wrong at once, mending what is named reveals the next complaint, in order."""
    wrong: dict[str, Any] = {"top_k": -1, "model": "claude-2", "messages": []}
    order = [
        ("max_tokens: Field required", {"max_tokens": 10}),
        ("model: claude-2", {"model": "claude-haiku-4-5"}),
        ("top_k", {"top_k": None}),
        ("messages: from 1", {"messages": [{"role": "user", "content": [image_block(b"x", "image/tiff")] * 101}]}),
        ("at most 100 images", {"messages": [{"role": "user", "content": [image_block(b"x", "image/tiff")]}]}),
        ("media_type", {"messages": [{"role": "user", "content": [image_block(b"x")]}]}),
        ("Could not process", {"messages": [{"role": "user", "content": [image_block(picture(1, 8001))]}]}),
        ("8000 pixels", {"messages": [{"role": "user", "content": [image_block()]}]}),
    ]
    for word, mended in order:
        assert word in refused(wrong).message
        wrong = {key: value for key, value in {**wrong, **mended}.items() if value is not None}
    assert read(wrong).images[0].width == 64


def test_a_body_that_passes_is_counted_by_text_and_patches() -> None:
    """Images cost their patches, text a quarter of its characters, system included."""
    asked = read(message_body(image_block(picture(200, 200)), {"type": "text", "text": "x" * 39}, system="s" * 20))
    assert asked.input_tokens == 64 + 15
    assert read(message_body("?")).input_tokens == 1


def test_the_same_picture_costs_a_high_tier_model_more() -> None:
    """The tier of the model decides what a large picture costs."""
    block = image_block(picture(1500, 1500))
    assert read(message_body(block)).input_tokens == 1521
    assert read(message_body(block, model="claude-opus-4-7")).input_tokens == 2916


def test_turns_last_text_and_prefill_are_told_apart() -> None:
    """The last user text is asked, the last assistant text is continued."""
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]
    asked = read(message_body(messages=turns))
    assert (asked.turns, asked.last_text, asked.prefill) == (2, "second", "")
    assert read(message_body(messages=[*turns, {"role": "assistant", "content": "So"}])).prefill == "So"


def test_a_count_takes_fewer_fields() -> None:
    """It needs no `max_tokens` and refuses it, as it does sampling and stop sequences."""
    body = message_body(max_tokens=None)
    assert read(body, counting=True).input_tokens == read(message_body()).input_tokens
    for name, value in (("max_tokens", 10), ("temperature", 0.5), ("stop_sequences", ["x"])):
        assert f"{name}: Extra inputs" in refused({**body, name: value}, counting=True).message


def test_the_version_decides_on_sampling() -> None:
    """The same body passes under the older version alone."""
    body = message_body(temperature=0.2)
    read(body)
    assert "temperature" in refused(body, version="2026-10-21").message


CALL = {"type": "tool_use", "id": "toolu_1", "name": "zoom", "input": {}}
DONE = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([("assistant", [CALL]), ("user", "and?")], "without `tool_result`"),
        ([("assistant", [CALL]), ("user", [{**DONE, "tool_use_id": "toolu_2"}])], "toolu_"),
        ([("user", [DONE])], "unexpected `tool_use_id`"),
        ([("assistant", [CALL]), ("user", [DONE]), ("user", [DONE])], "unexpected `tool_use_id`"),
    ],
)
def test_calls_and_results_belong_together(messages: list[tuple[str, Any]], said: str) -> None:
    """Every call is answered in the next message, and nothing else is."""
    turns = [{"role": role, "content": content} for role, content in [("user", "Look."), *messages]]
    with pytest.raises(Problem, match=said):
        read(message_body(messages=turns))


def test_the_service_s_own_tools_need_no_schema() -> None:
    """Their options are theirs; a strange type is refused."""
    own = {"type": "computer_20251124", "name": "computer", "display_width_px": 1024}
    assert read(message_body("Look.", tools=[own])).body["tools"] == [own]
    with pytest.raises(Problem, match=r"tools\.0"):
        read(message_body("Look.", tools=[{**own, "type": "teleport_20251124"}]))
