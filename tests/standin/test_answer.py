"""Messages: what they say, why they end, what they bill."""

import json
from typing import Any

import pytest
from support.asking import image_block, message_body, picture

from pipeline.standin.answer import Composed, bill_nano, compose
from pipeline.standin.caching import CacheUse
from pipeline.standin.models import MODELS
from pipeline.standin.validate import read_body

HAIKU_55 = MODELS["claude-haiku-5-5"]
TOOL = {
    "name": "record",
    "input_schema": {"type": "object", "properties": {"caption": {"type": "string"}}},
}


def answer(*content: Any, use: CacheUse | None = None, **changes: Any) -> Composed:
    """The answer to a body."""
    asked = read_body(json.dumps(message_body(*content, **changes)).encode(), "2023-06-01", 5_242_880)
    return compose(asked, use or CacheUse(asked.input_tokens), "msg_1")


def text(composed: Composed) -> str:
    """Its text."""
    return "".join(block["text"] for block in composed.message["content"] if block["type"] == "text")


def test_a_caption_states_its_one_image() -> None:
    """Size and hash are in the text, and the same body has the same text."""
    said = text(answer(image_block(picture(90, 60))))
    assert said.startswith("A 90x60 landscape picture; mostly ")
    assert said == text(answer(image_block(picture(90, 60))))


def test_several_images_are_stated_in_order_by_number() -> None:
    """Each can be traced by its number."""
    said = text(answer(image_block(picture(90, 60)), image_block(picture(60, 90))))
    assert said.index("Image 1: a 90x60 landscape") < said.index("Image 2: a 60x90 portrait")


def test_without_an_image_the_prompt_s_hash_is_stated() -> None:
    """Different prompts have different answers."""
    assert text(answer("one")) != text(answer("two"))


def test_a_prefill_is_continued() -> None:
    """The answer begins with a space and does not repeat the prefill."""
    turns = [{"role": "user", "content": [image_block()]}, {"role": "assistant", "content": "Here:"}]
    assert text(answer(messages=turns)).startswith(" A 64x48")


@pytest.mark.parametrize("cap", [0, 1, 5, 20])
def test_the_cap_cuts_the_text(cap: int) -> None:
    """No more tokens than allowed, said to be cut, and what is there is the beginning of the whole."""
    whole, cut = answer(), answer(max_tokens=cap)
    assert cut.message["stop_reason"] == ("end_turn" if cap == 20 else "max_tokens")
    assert cut.output_tokens <= cap
    assert text(whole).startswith(text(cut))
    assert whole.message["stop_reason"] == "end_turn"


def test_the_earliest_stop_sequence_ends_the_text() -> None:
    """Whichever comes first in the text wins, is named, and is not a part of it."""
    message = answer(image_block(), stop_sequences=["sha256", "picture", "absent"]).message
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "picture")
    assert message["content"][0]["text"] == "A 64x48 landscape "


def test_a_stop_sequence_beyond_the_cap_is_not_met() -> None:
    """The cap comes first where it is reached first."""
    message = answer(image_block(), stop_sequences=["sha256"], max_tokens=3).message
    assert (message["stop_reason"], message["stop_sequence"]) == ("max_tokens", None)


def test_thinking_comes_first_and_counts_against_the_cap() -> None:
    """A model that thinks by default may have no room left for text."""
    roomy, tight = answer(model="claude-sonnet-5-5"), answer(model="claude-sonnet-5-5", max_tokens=40)
    assert [block["type"] for block in roomy.message["content"]] == ["thinking", "text"]
    assert roomy.message["usage"]["output_tokens_details"] == {"thinking_tokens": 64}
    assert [block["type"] for block in tight.message["content"]] == ["thinking"]
    assert (tight.message["stop_reason"], tight.output_tokens) == ("max_tokens", 40)
    quiet = answer(model="claude-sonnet-5-5", thinking={"type": "between_tools"})
    assert [block["type"] for block in quiet.message["content"]] == ["text"]


def test_a_forced_tool_is_used_with_input_that_fits() -> None:
    """The tool's name and schema are obeyed."""
    message = answer(image_block(), tools=[TOOL], tool_choice={"type": "tool", "name": "record"}).message
    [block] = message["content"]
    assert (message["stop_reason"], block["type"], block["name"]) == ("tool_use", "tool_use", "record")
    assert block["input"]["caption"].startswith("A 64x48")


def test_a_tool_that_is_not_forced_is_left_alone() -> None:
    """`auto` answers in text."""
    assert text(answer(tools=[TOOL], tool_choice={"type": "auto"}))


def test_structured_output_is_json_that_fits() -> None:
    """The text block holds an object of the schema."""
    schema = {
        "type": "object",
        "properties": {"caption": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["caption", "count"],
        "additionalProperties": False,
    }
    said = json.loads(text(answer(image_block(), output_config={"format": {"type": "json_schema", "schema": schema}})))
    assert said["caption"].startswith("A 64x48")
    assert isinstance(said["count"], int)


def test_usage_is_what_the_cache_did_and_model_is_the_resolved_one() -> None:
    """Nothing is hidden: reads, writes by life, and that it is a stand-in."""
    message = answer(use=CacheUse(10, read=20, written_5m=30, written_1h=40)).message
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 20)
    assert usage["cache_creation_input_tokens"] == 70
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40}
    assert message["model"] == "claude-sonnet-4-5-20250929 (stand-in)"


def test_a_long_prompt_costs_five_times_as_much_to_the_last_token() -> None:
    """Cached tokens count for the band, and output is billed at its rate too."""
    at, over = CacheUse(50_000, read=50_000), CacheUse(50_000, read=50_001)
    assert bill_nano(HAIKU_55, at, 10) == 50_000 * 100 + 50_000 * 10 + 10 * 500
    assert bill_nano(HAIKU_55, over, 10) == 5 * (bill_nano(HAIKU_55, at, 10) + 10)


USE = {"type": "tool_use", "id": "toolu_1", "name": "record", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
OTHER = {**TOOL, "name": "other"}


def called(composed: Composed) -> list[str]:
    """The tools that it calls."""
    return [block["name"] for block in composed.message["content"] if block["type"] == "tool_use"]


@pytest.mark.parametrize(
    ("text_sent", "more", "names"),
    [
        ("record it", {}, ["record"]),
        ("record it with the other", {}, ["record", "other"]),
        ("recorded", {}, []),
        ("record it", {"tool_choice": {"type": "none"}}, []),
        ("record, other", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, ["record"]),
    ],
)
def test_tools_are_called_when_the_text_names_them(text_sent: str, more: dict[str, Any], names: list[str]) -> None:
    """So a test decides; each call has an id of its own, and is paid for."""
    composed = answer(text_sent, tools=[TOOL, OTHER], **more)
    assert called(composed) == names
    assert composed.message["stop_reason"] == ("tool_use" if names else "end_turn")
    ids = {block["id"] for block in composed.message["content"] if block["type"] == "tool_use"}
    assert len(ids) == len(names)


@pytest.mark.parametrize(("words", "names"), [("record it", []), ("record it, keep calling", ["record"])])
def test_results_end_the_calls_unless_it_is_told_to_go_on(words: str, names: list[str]) -> None:
    """As a model that has what it asked for, or one that goes in circles."""
    messages = [
        {"role": "user", "content": words},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [RESULT]},
    ]
    assert called(answer(messages=messages, tools=[TOOL])) == names
