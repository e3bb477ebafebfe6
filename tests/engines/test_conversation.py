"""Where an item stands in its conversation: what was paid adds up, whatever the turns were."""

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.api.client import Answered
from pipeline.api.messages import parse_answer
from pipeline.engines.conversation import Talk
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import AnswerError
from pipeline.prompts.plan import TurnPlan
from pipeline.records import Block, Item, Message, Mode, Usage
from pipeline.store.journal import PaidTurn

COUNTS = st.integers(0, 10_000)
_READ = "cache_read_input_tokens"


def talk_of(*texts: str, paid: list[PaidTurn] | None = None) -> Talk:
    """A conversation about no picture."""
    plan = TurnPlan(texts, ((),) * len(texts))
    return Talk(ReadyItem(b"k" * 16, Item("a", ()), (), plan), deque(paid or []))


def message(text: str = "Yes.", stop: str = "end_turn", **usage: int) -> bytes:
    """The body of a 200; without text it is a refusal that is free."""
    content = [{"type": "text", "text": text}] if text else []
    said = {"id": "msg", "model": "m", "content": content, "stop_reason": stop, "usage": usage}
    return json.dumps(said).encode()


def answered(raw: bytes, *, attempts: int = 1, cost_usd: float = 0.0, request_id: str = "r") -> Answered:
    """An answer as the service's client gives it."""
    return Answered(parse_answer(raw), attempts, 5.0, cost_usd, request_id, Mode.BATCHES)


@st.composite
def paid_answers(draw: st.DrawFn, turn: int, attempt: int) -> tuple[PaidTurn, Usage]:
    """An answer of an earlier run, and what is billed of it; some are refusals, which are free."""
    counts = {"input_tokens": draw(COUNTS), "output_tokens": draw(COUNTS), _READ: draw(COUNTS)}
    free = draw(st.booleans())
    raw = message("" if free else "Yes.", "refusal" if free else "end_turn", **counts)
    cost = 0.0 if free else draw(st.floats(0, 1))
    billed = Usage() if free else Usage(counts["input_tokens"], counts["output_tokens"], 0, counts[_READ])
    return PaidTurn(turn, attempt, {"cost_usd": cost}, raw), billed


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[list[tuple[PaidTurn, Usage]], int]]:
    """For each turn the answers that were paid for, and how many of them are read: at least the first."""
    turns = []
    for turn in range(1, draw(st.integers(1, 4)) + 1):
        made = [draw(paid_answers(turn, attempt)) for attempt in range(1, draw(st.integers(1, 4)) + 1)]
        turns.append((made, draw(st.integers(1, len(made)))))
    return turns


@given(conversations())
@settings(deadline=None, max_examples=100)
def test_every_paid_answer_counts_once_whether_it_is_read_or_not(
    turns: list[tuple[list[tuple[PaidTurn, Usage]], int]],
) -> None:
    """Tokens, money and attempts are the sums over all of them; what is free adds no tokens."""
    every = [each for made, _ in turns for each in made]
    talk = talk_of(*[f"Turn {number}" for number, _ in enumerate(turns)], paid=[paid for paid, _ in every])
    for number, (_, read) in enumerate(turns, 1):
        for _ in range(read):
            assert talk.has_paid
            one = talk.paid.popleft()
            talk.add(answered(one.answer, attempts=one.attempt, cost_usd=one.body["cost_usd"]))
        assert talk.is_last == (number == len(turns))
        talk.close(f"reply {number}")
        assert talk.turn == number + 1
    assert talk.usage == sum((billed for _, billed in every), Usage())
    assert talk.cost_usd == pytest.approx(sum(paid.body["cost_usd"] for paid, _ in every))
    assert talk.before + talk.made == len(every)
    assert not talk.paid
    assert talk.replies == [f"reply {number + 1}" for number in range(len(turns))]


def test_an_answer_that_cannot_be_read_and_is_not_needed_costs_nothing_but_its_price() -> None:
    """The reply that was read stands: the item goes on."""
    lost = PaidTurn(1, 2, {"cost_usd": None}, b"<html>")
    talk = talk_of("One.", "Two.", paid=[lost])
    talk.add(answered(message(input_tokens=3), cost_usd=0.5))
    talk.close("One's reply")
    assert (talk.usage, talk.cost_usd, talk.before, list(talk.paid)) == (Usage(3), 0.5, 2, [])


def test_answers_of_later_turns_are_kept_for_them() -> None:
    """They are not stale: their turn comes."""
    later = PaidTurn(2, 1, {"cost_usd": 0.25}, message())
    talk = talk_of("One.", "Two.", paid=[later])
    assert not talk.has_paid
    talk.add(answered(message()))
    talk.close("One's reply")
    assert talk.has_paid
    assert (list(talk.paid), talk.cost_usd) == ([later], 0.0)


def test_a_reply_ends_what_tools_said_between() -> None:
    """Two messages for each turn of tools; each such turn is one of the service's answers."""
    talk = talk_of("One.", "Two.")
    for turn in range(2):
        assert talk.tool_turns == turn
        talk.add(answered(message(), attempts=2))
        talk.between += [Message("assistant", (Block({}),)), Message("user", ("seen",))]
        talk.next_turn()
    talk.larger = True
    talk.add(answered(message()))
    talk.close("One's reply")
    assert (talk.tool_turns, talk.between, talk.turn, talk.larger) == (0, [], 4, False)
    assert (talk.before, talk.made) == (5, 0)


@pytest.mark.parametrize(("texts", "replies"), [(["One."], []), (["One.", "Two."], ["a"]), (["1", "2", "3"], ["a"])])
def test_the_last_text_is_the_one_without_another_after_it(texts: list[str], replies: list[str]) -> None:
    """Only there is a schema filled in."""
    talk = talk_of(*texts)
    talk.replies += replies
    assert talk.is_last == (len(replies) + 1 == len(texts))


def test_a_failure_names_the_answer_that_it_is_about() -> None:
    """A 200, by its request id; what came by the last answer is kept beside it."""
    talk = talk_of("One.")
    talk.add(answered(message("", "max_tokens"), request_id="first"))
    last = talk.add(answered(message(stop="max_tokens"), request_id="second"))
    error: Any = talk.fault("refusal", "no")
    assert isinstance(error, AnswerError)
    assert (error.error_type, str(error), error.http_status, error.request_id) == ("refusal", "no", 200, "second")
    assert (talk.last, talk.mode, talk.latency_ms) == (last, Mode.BATCHES, 10.0)
    assert talk.warnings == ["truncated", "empty_text", "truncated"]
