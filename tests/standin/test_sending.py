"""A message after its misfortune."""

import json

import pytest
from support.asking import message_body

from pipeline.standin.answer import Composed, compose
from pipeline.standin.caching import CacheUse
from pipeline.standin.delivery import Delivery
from pipeline.standin.misfortunes import Refusal
from pipeline.standin.sending import sent_message
from pipeline.standin.validate import read_body


def composed() -> Composed:
    """A message."""
    asked = read_body(json.dumps(message_body()).encode(), "2023-06-01", 1000)
    return compose(asked, CacheUse(asked.input_tokens), "msg_1")


def test_a_message_goes_out_as_it_is() -> None:
    """And the log says the same of it."""
    message = composed()
    sent = sent_message(message, Delivery())
    assert json.loads(sent.body) == message.message
    assert sent.said == {"billed": True, "stop_reason": "end_turn", "caption": message.message["content"][0]["text"]}


def test_fields_are_replaced_and_removed() -> None:
    """`None` removes one."""
    sent = sent_message(composed(), Delivery(change={"usage": None, "stop_reason": "bored"}))
    assert "usage" not in json.loads(sent.body)
    assert sent.stop_reason == "bored"


@pytest.mark.parametrize(("text", "billed"), [("", False), ("I would rather", True)])
def test_a_refusal_without_text_is_free(text: str, billed: bool) -> None:
    """One in the middle of an answer is not."""
    assert sent_message(composed(), Refusal(text).deliver()).billed is billed


def test_a_foreign_body_goes_out_instead() -> None:
    """It is billed: the work was done."""
    assert sent_message(composed(), Delivery(b"<html>")).said == {"billed": True, "stop_reason": None, "caption": ""}
