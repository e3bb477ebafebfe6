"""A prompt step by step: its tokens, and hashes that know equal prefixes."""

from typing import Any

import pytest

from pipeline.standin.prefix import steps_of

MARK = {"cache_control": {"type": "ephemeral"}}
SYSTEM = {"type": "text", "text": "s" * 40}
IMAGE = {"type": "image", "source": {"data": "AAAA"}}


def body(*texts: str, system: Any = None, **more: Any) -> dict[str, Any]:
    """A body with one marked user block for each text."""
    blocks = [{"type": "text", "text": text, **MARK} for text in texts]
    return {"system": system or [SYSTEM], "messages": [{"role": "user", "content": blocks}], **more}


def digests(value: dict[str, Any], model: str = "m") -> list[bytes]:
    """The hashes of its steps."""
    return [step.digest for step in steps_of(value, model, [])]


def test_tokens_add_up_in_the_order_tools_system_messages() -> None:
    """Four characters are a token, rounded up once over the whole, and images cost what they cost."""
    whole = {
        "tools": [{"name": "abcd", "input_schema": {"type": "object"}}],
        "system": "x" * 5,
        "messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "y" * 4}]}],
    }
    steps = steps_of(whole, "m", [(whole["messages"][0]["content"][0], 100)])
    assert [step.tokens for step in steps] == [1, 3, 103, 104]
    assert {step.digest for step in steps} == {b""}


def test_images_within_tool_results_cost_too() -> None:
    """A picture handed back by a tool is billed like any other."""
    result = {"type": "tool_result", "tool_use_id": "tttt", "content": [IMAGE]}
    whole = {"messages": [{"role": "user", "content": [result]}]}
    assert [step.tokens for step in steps_of(whole, "m", [(IMAGE, 64)])] == [65]


def test_equal_prefixes_have_equal_hashes() -> None:
    """What differs later does not touch the hash of what came before."""
    one, other = digests(body("a", "b")), digests(body("a", "c"))
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_moving_a_mark_leaves_the_hashes_alone() -> None:
    """A cache mark is not a part of the prefix that it ends."""
    moved = body("a", "b")
    del moved["messages"][0]["content"][0]["cache_control"]
    assert digests(moved) == digests(body("a", "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"tool_choice": {"type": "auto"}},
        {"output_config": {"effort": "low"}},
        {"thinking": {"type": "disabled"}},
    ],
)
def test_what_shapes_the_answer_invalidates_messages_and_spares_the_system(change: dict[str, Any]) -> None:
    """Tool choice, effort and thinking are hashed into messages alone."""
    plain, changed = digests(body("a")), digests(body("a", **change))
    assert plain[0] == changed[0]
    assert plain[1] != changed[1]


def test_models_share_no_prefix() -> None:
    """The same prompt on another model is another prefix."""
    assert not set(digests(body("a"), "m")) & set(digests(body("a"), "n"))


def test_a_plain_string_is_one_text_block() -> None:
    """Both spellings of the same system prompt are one prefix."""
    assert digests(body("a", system="s" * 40)) == digests(body("a"))


def test_the_automatic_mark_stands_on_the_last_block() -> None:
    """A mark on the body itself is one on its last block, which keeps its own life if it has one."""
    plain = {"messages": [{"role": "user", "content": "hello"}], "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert [step.life for step in steps_of(plain, "m", [])] == ["1h"]
    assert [step.life for step in steps_of(body("a", cache_control={"type": "ephemeral", "ttl": "1h"}), "m", [])] == [
        None,
        "5m",
    ]
