"""Bodies out, as the service reads them; answers in, whatever a server makes of them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import encoded, smooth

from pipeline.api.messages import Answer, BodyWriter, parse_answer, parse_error
from pipeline.errors import AnswerError
from pipeline.records import Block, ImageLink, ImageRecord, Message, PreparedImage, ToolResult, Usage

SETTINGS = {"model": "claude-haiku-4-5", "max_tokens": 300}
GOOD: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "A red square."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1551, "output_tokens": 71, "service_tier": "standard"},
}

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def picture(width: int = 56, height: int = 29) -> PreparedImage:
    """A prepared JPEG of this size."""
    body = encoded(smooth(width, height))
    return PreparedImage(body, ImageRecord("a.jpg", sent_media_type="image/jpeg", sent_width=width, sent_height=height))


def changed(**fields: Any) -> bytes:
    """The good answer with other values in these fields; `...` removes one."""
    message = {**GOOD, **fields}
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def test_a_caption_request_is_what_the_guide_shows() -> None:
    """One image before one text, base64 without prefix and newlines, in the documented shape."""
    image = picture()
    body = BodyWriter({**SETTINGS, "system": "Be brief."}).body([Message("user", (image, "Describe this image."))])
    data = base64.b64encode(image.body).decode()
    assert json.loads(body) == {
        **SETTINGS,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}},
                    {"type": "text", "text": "Describe this image."},
                ],
            }
        ],
    }


def test_a_single_text_is_sent_in_its_short_form() -> None:
    """Text alone, of either role, is a string; several turns keep their order."""
    turns = [Message("user", ("One?",)), Message("assistant", ("Two.",)), Message("user", ("Three?", "Four?"))]
    assert json.loads(BodyWriter(SETTINGS).body(turns))["messages"] == [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}, {"type": "text", "text": "Four?"}]},
    ]


any_text = st.text(max_size=40) | st.lists(
    st.sampled_from(['"', "\\", "\n", "\x00", "\x7f", "\u2028", "\ud800", "\udc00", "é", "\U0001d4b3", "</script>"]),
    max_size=12,
).map("".join)


@given(st.lists(st.lists(any_text, min_size=1, max_size=3), min_size=1, max_size=3), any_text)
@settings(deadline=None, max_examples=80)
def test_any_text_arrives_as_it_was_but_for_lone_surrogates(turns: list[list[str]], system: str) -> None:
    """Quotes, control characters and every script survive; only what UTF-8 cannot hold becomes U+FFFD."""

    def mended(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    messages = [Message("user", tuple(texts)) for texts in turns]
    body = json.loads(BodyWriter({**SETTINGS, "system": system}).body(messages).decode("utf-8"))
    assert body["system"] == mended(system)
    for texts, message in zip(turns, body["messages"], strict=True):
        content = message["content"]
        found = [content] if isinstance(content, str) else [part["text"] for part in content]
        assert found == [mended(text) for text in texts]


def test_the_need_counts_patches_and_characters() -> None:
    """Images by the 28-pixel rule, text by its characters, those of the settings included."""
    turns = [
        Message("user", (picture(56, 29), "four")),
        Message("assistant", ("fives",)),
        Message("user", (picture(),)),
    ]
    tokens, characters = BodyWriter({"model": "m", "system": "0123456789"}).need(turns)
    assert tokens == 2 * (2 * 2)
    assert characters == len("m") + 10 + 4 + 5


def test_reads_a_good_answer() -> None:
    """Text, model, ids, usage and tier, without a warning."""
    assert parse_answer(changed()) == Answer(
        "A red square.",
        "end_turn",
        "claude-haiku-4-5-20251001",
        "msg_1",
        Usage(1551, 71),
        "standard",
        blocks=(GOOD["content"][0],),
    )


def test_reads_every_kind_of_token() -> None:
    """Both cache counts, and the part that was written for an hour."""
    usage = {
        "input_tokens": 1,
        "output_tokens": 2.0,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    assert parse_answer(changed(usage=usage)).usage == Usage(1, 2, 30, 4, 20)


def test_text_is_picked_by_type_and_never_by_position() -> None:
    """Thinking before, between and after the text is passed over."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "A "},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "cat."},
    ]
    answer = parse_answer(changed(content=blocks))
    assert (answer.text, answer.warnings) == ("A cat.", ())


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        ({"usage": ...}, ("no_usage",)),
        ({"usage": 7}, ("no_usage",)),
        ({"content": []}, ("empty_text",)),
        ({"content": [{"type": "text", "text": " \n"}]}, ("empty_text",)),
        ({"content": [{"type": "text"}]}, ("empty_text",)),
        ({"stop_reason": "max_tokens"}, ("truncated",)),
        ({"stop_reason": "model_context_window_exceeded"}, ("truncated",)),
        ({"stop_reason": "max_tokens", "content": [{"type": "thinking"}]}, ("truncated", "empty_text")),
        ({"stop_reason": "bored"}, ("unknown_stop_reason:bored",)),
        ({"stop_reason": ...}, ("no_stop_reason",)),
        ({"stop_reason": ["end_turn"]}, ("no_stop_reason",)),
        ({"content": [{"type": "hologram"}, GOOD["content"][0]]}, ("unknown_block:hologram",)),
        ({"content": ["loose text", GOOD["content"][0]]}, ("unknown_block:none",)),
        ({"content": [{"type": ["text"]}, GOOD["content"][0]]}, ("unknown_block:none",)),
        ({"content": [{"type": {"a": 1}}, {"type": None}, GOOD["content"][0]]}, ("unknown_block:none",)),
        ({"unknown": 1, "container": None}, ()),
        ({"model": ..., "id": ...}, ()),
    ],
)
def test_oddities_are_kept_and_flagged(fields: dict[str, Any], warnings: tuple[str, ...]) -> None:
    """What is there is taken, what is odd is named, and nothing of it fails the item."""
    answer = parse_answer(changed(**fields))
    assert answer.warnings == warnings
    if "content" not in fields:
        assert answer.text == "A red square."


def test_a_refusal_without_content_is_free() -> None:
    """A classifier's refusal carries its category, and no bill; one in mid-answer is billed."""
    details = {"type": "refusal", "category": "general_harms", "explanation": "no\nway"}
    free = parse_answer(changed(stop_reason="refusal", content=[], stop_details=details))
    assert (free.refusal, free.billed, free.warnings) == ("general_harms: no way", False, ())
    billed = parse_answer(changed(stop_reason="refusal", stop_details=None))
    assert (billed.refusal, billed.billed) == ("refused", True)
    assert parse_answer(changed()).refusal is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>Welcome</html>",
        b'{"id": "msg_1", "content": [\x00\xff',
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"content": "text"}',
        b'{"content": null}',
        b"[" * 100_000,
        b'{"content": [], "usage": {"input_tokens": ' + b"9" * 5000 + b"}}",
        "\ufeff{}".encode("utf-16"),
    ],
)
def test_what_cannot_be_read_is_a_bad_response(raw: bytes) -> None:
    """Empty, HTML, garbled and absurd bodies fail the item with one printable line."""
    with pytest.raises(AnswerError) as caught:
        parse_answer(raw)
    assert caught.value.error_type == "bad_response"
    assert not caught.value.retryable
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("count", [-1, 10**30, 2**53 + 1, 1.5, float("inf"), float("nan"), 1e300, "7", True, [], {}])
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cache_creation_input_tokens"])
def test_a_count_that_no_bill_can_hold_is_a_bad_response(name: str, count: object) -> None:
    """Money is not guessed: a usage that is no count of tokens fails the item."""
    with pytest.raises(AnswerError, match=name):
        parse_answer(changed(usage={"input_tokens": 1, "output_tokens": 1, name: count}))


@given(
    st.dictionaries(
        st.sampled_from(["id", "model", "content", "stop_reason", "stop_details", "usage"]), any_json, max_size=6
    ),
    st.lists(st.dictionaries(st.sampled_from(["type", "text"]), any_json), max_size=3),
    st.dictionaries(st.sampled_from(["input_tokens", "cache_creation", "service_tier"]), any_json),
)
@settings(deadline=None, max_examples=150)
def test_any_json_is_an_answer_or_a_bad_response(
    fields: dict[str, Any], blocks: list[dict[str, Any]], usage: dict[str, Any]
) -> None:
    """Nothing that parses can raise anything else, and every text that comes out can be stored as UTF-8."""
    types = set()
    for message in (fields, {**GOOD, **fields}, {**GOOD, "content": blocks, "usage": usage}):
        try:
            answer = parse_answer(json.dumps(message).encode())
        except AnswerError as error:
            types.add(error.error_type)
            continue
        for text in (answer.text, answer.model, answer.message_id, answer.refusal, *answer.warnings):
            (text or "").encode()
    assert types <= {"bad_response"}


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_an_error_body(raw: bytes) -> None:
    """Whatever an error answer holds, it has a type and a message of one line."""
    said = parse_error(raw, 500)
    assert said.error_type
    assert said.message.isprintable()


def test_lone_surrogates_of_an_answer_become_replacement_characters() -> None:
    """An escaped half of a pair, which JSON allows and no file can hold, costs one character."""
    raw = json.dumps(GOOD).replace("A red square.", "a\\ud83d b \\ud83d\\ude00").encode()
    assert parse_answer(raw).text == "a\ufffd b \U0001f600"


def test_reads_an_error_as_documented() -> None:
    """Type, message, code and request id."""
    error = {"type": "rate_limit_error", "message": "slow\ndown", "details": {"error_code": "ramp_limit_exceeded"}}
    said = parse_error(json.dumps({"type": "error", "error": error, "request_id": "req_9"}).encode(), 429)
    assert (said.error_type, said.message) == ("rate_limit_error", "slow down")
    assert (said.error_code, said.request_id) == ("ramp_limit_exceeded", "req_9")


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"error": "text"}', b'{"error": {"type": 5}}', b"[]"])
def test_an_unreadable_error_is_told_by_its_status(status: int, error_type: str, raw: bytes) -> None:
    """A proxy's page has the type that the status stands for, and names the status."""
    said = parse_error(raw, status)
    assert said.error_type == error_type
    assert str(status) in said.message


@given(any_json)
@settings(deadline=None, max_examples=80)
def test_any_error_json_is_read(value: Any) -> None:
    """Wrong types in every place of the error body raise nothing."""
    for body in (value, {"error": value}, {"error": {"type": value, "message": value, "details": value}}):
        said = parse_error(json.dumps(body).encode(), 400)
        said.error_type.encode()
        said.message.encode()


def test_links_tool_turns_and_errors_have_the_documented_shapes() -> None:
    """A URL, a file's id, the service's own block sent back untouched, and a result with an image or an error."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "zoom", "input": {"left": 0.5}}
    unknown = ImageRecord("x")
    turns = [
        Message("user", (PreparedImage(b"", unknown, link=ImageLink("url", "https://a.example/b.jpg?c=d")), "Look.")),
        Message("assistant", (Block(use),)),
        Message(
            "user", (ToolResult("toolu_1", ("The part:", picture())), ToolResult("toolu_2", ("no",), is_error=True))
        ),
        Message("user", (PreparedImage(b"abc", unknown, link=ImageLink("file", "file_1")),)),
    ]
    image = {"type": "base64", "media_type": "image/jpeg", "data": base64.b64encode(picture().body).decode()}
    sent = json.loads(BodyWriter(SETTINGS).body(turns))["messages"]
    assert [block["source"] for block in (sent[0]["content"][0], sent[3]["content"][0])] == [
        {"type": "url", "url": "https://a.example/b.jpg?c=d"},
        {"type": "file", "file_id": "file_1"},
    ]
    assert sent[1] == {"role": "assistant", "content": [use]}
    assert sent[2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "is_error": False,
            "content": [{"type": "text", "text": "The part:"}, {"type": "image", "source": image}],
        },
        {
            "type": "tool_result",
            "tool_use_id": "toolu_2",
            "is_error": True,
            "content": [{"type": "text", "text": "no"}],
        },
    ]


def test_everything_that_is_sent_is_counted() -> None:
    """Tools and schemas by their whole text, names included; images within results; unknown sizes at the most."""
    schema = {"type": "object", "properties": {"a_rather_long_name": {"type": "string"}}}
    tools = [{"name": "zoom", "input_schema": schema}]
    assert BodyWriter({"tools": tools}).shared == (0, len(json.dumps({"tools": tools})))
    writer = BodyWriter({"model": "m"}, [Message("user", (picture(), "12345"))], unseen_tokens=700)
    one = BodyWriter({}).need([Message("user", (picture(),))])[0]
    assert writer.shared == (one, 6)
    turns = [
        Message("user", (ToolResult("t", ("123", picture())), PreparedImage(b"", ImageRecord("x")), Block({"a": 1})))
    ]
    assert writer.need(turns) == (2 * one + 700, 6 + 3 + len('{"a": 1}'))


def test_no_text_takes_more_tokens_than_its_bytes() -> None:
    """What the budget reserves: bytes of everything that is text, in every part, and visual tokens."""
    writer = BodyWriter({"system": "né"}, [Message("user", ("日本",))])
    bare = BodyWriter({"system": "né"}).most_tokens([])
    assert bare >= len("né".encode())
    assert writer.most_tokens([]) == bare + 6
    turns = [Message("user", ("é😀", ToolResult("t", ("日",)), Block({"a": "é"}), picture()))]
    expected = 6 + 3 + len('{"a": "é"}'.encode()) + writer.need(turns)[0]
    assert writer.most_tokens(turns) == bare + 6 + expected


@pytest.mark.parametrize(
    ("block", "calls"),
    [
        ({"type": "tool_use", "id": "toolu_1", "name": "zoom", "input": {}}, 1),
        ({"type": "tool_use", "id": "toolu_1", "name": "zoom", "input": "{}"}, 0),
        ({"type": "tool_use", "name": "zoom", "input": {}}, 0),
        ({"type": "server_tool_use", "id": "toolu_1", "name": "zoom", "input": {}}, 0),
    ],
)
def test_a_call_is_one_that_can_be_answered(block: dict[str, Any], calls: int) -> None:
    """With an id, a name and an object for an input; an answer of calls alone is not flagged as empty."""
    answer = parse_answer(changed(content=[block], stop_reason="tool_use"))
    assert len(answer.calls) == calls
    assert ("empty_text" in answer.warnings) == (block["type"] != "tool_use")
