"""The shared prefix, and the writers that mark its end."""

import json
from typing import Any

import pytest
from support.asking import picture

from pipeline.api.catalogue import Catalogue
from pipeline.api.messages import CACHE_MARK, CACHE_MARK_HOUR
from pipeline.api.prefix import SharedPrefix, body_writer
from pipeline.api.text_tokens import Calibration, TextTokens
from pipeline.records import ImageRecord, Message, PreparedImage

HAIKU = Catalogue().model("claude-haiku-4-5")
SETTINGS = {
    "model": "claude-haiku-4-5",
    "max_tokens": 10,
    "system": "Be brief.",
    "tools": [{"name": "a"}, {"name": "b"}],
}
IMAGE = PreparedImage(picture(280, 280), ImageRecord("x", sent_media_type="image/png", sent_width=280, sent_height=280))
EXAMPLES = (Message("user", (IMAGE, "What is it?")), Message("assistant", ("A ramp.",)))
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
QUESTION = Message("user", ("Describe it.",))


def body(
    settings: dict[str, Any], examples: tuple[Message, ...] = (), *, mark: dict[str, str] | None = CACHE_MARK
) -> Any:
    """What the writer writes, read back."""
    return json.loads(body_writer(settings, examples, HAIKU, mark=mark).body([QUESTION]))


def marks(value: Any) -> int:
    """How many blocks are marked."""
    return json.dumps(value).count("cache_control")


def test_a_batch_marks_for_an_hour() -> None:
    """Batches are answered at leisure, so five minutes would not last; the mark stands where the shorter one does."""
    assert CACHE_MARK_HOUR == HOUR
    told, taught = body(SETTINGS, mark=HOUR), body(SETTINGS, EXAMPLES, mark=HOUR)
    assert told["system"][0]["cache_control"] == HOUR
    assert taught["messages"][1]["content"][0]["cache_control"] == HOUR


def test_the_mark_stands_on_the_last_thing_that_never_changes() -> None:
    """Examples, else the system prompt, else the last tool; one mark covers all before it."""
    taught = body(SETTINGS, EXAMPLES)
    assert taught["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "A ramp.", "cache_control": MARK}],
    }
    told = body(SETTINGS)
    assert told["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    tooled = body({"tools": SETTINGS["tools"]})
    assert [tool.get("cache_control") for tool in tooled["tools"]] == [None, MARK]
    assert [marks(each) for each in (taught, told, tooled)] == [1, 1, 1]
    assert marks(body({"model": "m"})) == 0
    assert marks(body(SETTINGS, EXAMPLES, mark=None)) == 0


def test_the_question_follows_the_examples() -> None:
    """The messages stay in order, and the example's text stands as a plain string where nothing is marked."""
    messages = body(SETTINGS, EXAMPLES, mark=None)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "A ramp."
    assert messages[2] == {"role": "user", "content": "Describe it."}


def test_what_is_shared_is_counted_once_for_all() -> None:
    """Images by their patches, text by the model's characters a token, with bounds on both sides."""
    prefix = SharedPrefix({"system": "x" * 4000, "max_tokens": 10}, EXAMPLES, HAIKU)
    characters = 4000 + len("What is it?A ramp.")
    assert prefix.tokens == 100 + round(characters / 4)
    assert prefix.low < prefix.tokens < prefix.high
    newer = SharedPrefix({"system": "x" * 4000}, EXAMPLES, Catalogue().model("claude-opus-4-8"))
    assert newer.tokens == pytest.approx(100 + 1.3 * characters / 4, rel=0.01)


@pytest.mark.parametrize(
    ("characters", "may", "expected", "surely"),
    [
        (1000, False, False, False),
        (10_000, True, False, False),
        (17_000, True, True, False),
        (30_000, True, True, True),
    ],
)
def test_near_the_minimum_nothing_is_certain(characters: int, may: bool, expected: bool, surely: bool) -> None:
    """Haiku 4.5 caches from 4,096 tokens on; it is marked where it may be reached."""
    prefix = SharedPrefix({"system": "x" * characters}, (), HAIKU)
    assert (prefix.may_be_cached, prefix.is_cached, prefix.is_surely_cached) == (may, expected, surely)
    assert (prefix.remark() is None) == expected


def test_an_image_of_unknown_size_needs_the_most_that_the_model_sees() -> None:
    """Until the service has fetched it, nobody knows."""
    unknown = Message("user", (PreparedImage(b"", ImageRecord("x")),))
    for name, most in (("claude-haiku-4-5", 1568), ("claude-opus-4-8", 4784), ("my-model", 4784)):
        writer = body_writer({}, (), Catalogue().model(name), mark=None)
        assert writer.need([unknown])[0] == most


def test_one_count_replaces_the_guess() -> None:
    """What the service counted beyond the images is the text's; a count that the images exceed says nothing."""
    found = Calibration(1600, 1500, 200).text
    assert found is not None
    assert found.expected == 0.5
    assert found.low < 0.5 < found.high < TextTokens.of(HAIKU).high * 1.2
    assert Calibration(1400, 1500, 200).text is None
    assert Calibration(1600, 1500, 0).text is None
