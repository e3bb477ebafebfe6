"""Messages, content blocks and cache marks."""

from typing import Any

import pytest

from pipeline.standin.blocks import check_messages, check_system, images_of, texts_of
from pipeline.standin.models import find_model
from pipeline.standin.problems import Problem

TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image", "source": {}}
MARKED = {**TEXT, "cache_control": {"type": "ephemeral"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "zoom", "input": {}}


def check(*messages: Any, model: str = "claude-haiku-4-5", **body: Any) -> None:
    """Checks a body with these messages."""
    facts = find_model(model)
    assert facts is not None
    whole = {"messages": list(messages), **body}
    check_system(whole)
    check_messages(whole, facts)


def user(*content: Any) -> dict[str, Any]:
    """A user's message of blocks."""
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    """An assistant's message of blocks."""
    return {"role": "assistant", "content": list(content)}


TAKEN = [
    [{"role": "user", "content": "hello"}],
    [user(TEXT, IMAGE, TEXT), assistant(TEXT), user(TEXT)],
    [user(TEXT), user(TEXT)],
    [user(TEXT), assistant(USE), user({"type": "tool_result", "tool_use_id": "toolu_1", "content": [TEXT, IMAGE]})],
    [user(TEXT), {"role": "assistant", "content": "A picture of"}],
    [user(TEXT), {"role": "assistant", "content": ""}],
    [user({**IMAGE, "transformations": {"oversized_image": "error"}})],
]
REFUSED = [
    ([], "messages"),
    (["hello"], "messages.0"),
    ([{"role": "system", "content": "x"}], "messages.0.role"),
    ([{"role": "user", "content": ""}], "messages.0"),
    ([{"role": "user", "content": None}], "messages.0.content"),
    ([{**user(TEXT), "name": "x"}], "messages.0.name"),
    ([user()], "messages.0"),
    ([user(TEXT), assistant(), user(TEXT)], "messages.1"),
    ([assistant(TEXT), user(TEXT)], "first message"),
    ([user({"type": "text", "text": " \n"})], "messages.0.content.0"),
    ([user({"type": "video", "source": {}})], "messages.0.content.0"),
    ([user({**TEXT, "style": "bold"})], "messages.0.content.0.text.style"),
    ([user({"type": "image"})], "messages.0.content.0.image.source"),
    ([user({**IMAGE, "transformations": {"oversized_image": "crop"}})], "oversized_image"),
    ([user({**IMAGE, "transformations": {"rotate": 90}})], "transformations.rotate"),
    ([user(USE)], "tool_use"),
    ([user(TEXT), assistant(IMAGE), user(TEXT)], "messages.1.content.0"),
    ([user(TEXT), assistant({"type": "document", "source": {}}), user(TEXT)], "messages.1.content.0"),
    ([user({"type": "tool_result", "tool_use_id": "t", "content": [USE]})], "tool_result.content.0"),
    ([user(TEXT), {"role": "assistant", "content": "It is "}], "whitespace"),
]


@pytest.mark.parametrize("messages", TAKEN)
def test_well_formed_conversations_pass(messages: list[Any]) -> None:
    """Strings, blocks, several turns, tool results, a prefill: all are taken."""
    check(*messages)


@pytest.mark.parametrize(("messages", "word"), REFUSED)
def test_malformed_conversations_are_refused_at_their_place(messages: list[Any], word: str) -> None:
    """The message names where it went wrong."""
    with pytest.raises(Problem) as caught:
        check(*messages)
    assert caught.value.status == 400
    assert word in caught.value.message


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-opus-4-7", "claude-haiku-5-5", "claude-sonnet-5-5"])
def test_newer_models_take_no_prefill(model: str) -> None:
    """From 4.6 on the conversation must end with the user."""
    with pytest.raises(Problem, match="must end with a user message"):
        check(user(TEXT), assistant(TEXT), model=model)


@pytest.mark.parametrize(
    "body",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ],
)
def test_a_prefill_goes_with_neither_structured_output_nor_thinking(body: dict[str, Any]) -> None:
    """Both combinations are refused on a model that takes each of them alone."""
    check(user(TEXT), **body)
    with pytest.raises(Problem, match="prefill"):
        check(user(TEXT), assistant(TEXT), **body)


def test_system_takes_text_blocks_alone() -> None:
    """An image in the system prompt is refused."""
    check(user(TEXT), system=[MARKED])
    with pytest.raises(Problem, match=r"system\.0"):
        check(user(TEXT), system=[IMAGE])


def test_a_fifth_cache_mark_is_refused_wherever_it_stands() -> None:
    """Marks in tools, system, messages and on the body itself are counted together."""
    tools = [{"name": "t", "cache_control": {"type": "ephemeral"}}]
    check(user(MARKED, MARKED), system=[MARKED], tools=tools)
    check(user(MARKED, TEXT), system=[MARKED], tools=tools, cache_control={"type": "ephemeral"})
    with pytest.raises(Problem, match=r"maximum of 4 blocks .* Found 5"):
        check(user(MARKED, MARKED), system=[MARKED], tools=tools, cache_control={"type": "ephemeral"})


@pytest.mark.parametrize(
    "mark", [{"type": "forever"}, {"type": "ephemeral", "ttl": "2h"}, {"type": "ephemeral", "x": 1}]
)
def test_a_malformed_cache_mark_is_refused(mark: dict[str, Any]) -> None:
    """Its type, life and fields are checked."""
    with pytest.raises(Problem, match="cache_control"):
        check(user({**TEXT, "cache_control": mark}))


def test_longer_lives_come_first() -> None:
    """An hour's mark after one of five minutes is refused; the other order is fine."""
    hour = {**TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    check(user(hour, MARKED))
    with pytest.raises(Problem, match="ttl"):
        check(user(MARKED, hour))


def test_images_are_found_in_order_with_their_places() -> None:
    """Those of earlier turns and of tool results count too."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [TEXT, IMAGE]}
    body = {"messages": [user(TEXT, IMAGE), {"role": "assistant", "content": "x"}, user(result, IMAGE)]}
    assert [place for place, _ in images_of(body)] == [
        "messages.0.content.1",
        "messages.2.content.0.content.1",
        "messages.2.content.1",
    ]


def test_only_what_the_model_reads_counts_as_text() -> None:
    """Image data, types, roles and cache marks are no prompt."""
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    message = {"role": "user", "content": [MARKED, image, {**USE, "input": {"corner": "left"}}]}
    assert list(texts_of(message)) == ["hello", "toolu_1", "zoom", "left"]
