"""One item asked, turn by turn, to its outcome: the stage that spends money.

Paid turns of an earlier run are taken from the journal and not asked again. An identical request that was answered in
this dataset is copied; one that is in flight is waited for. A request that the service finds too large is sent once
more with smaller images.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from pipeline.api.catalogue import worst_cost_usd
from pipeline.api.client import Answered, Client, Question, RequestTooLargeError
from pipeline.api.messages import Answer, BodyWriter, parse_answer
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import AnswerError, ErrorType, ItemError
from pipeline.fingerprint import reuse_key
from pipeline.limits.pacer import Need
from pipeline.records import Message, Mode, Outcome, Usage
from pipeline.store.journal import PaidTurn
from pipeline.store.ledger import Ledger

__all__ = ["Captioner"]

_TOKENS_A_CHARACTER = 4
"""Tokens that a character can cost at the most, for the budget: a tokenizer makes no more of it than its bytes."""
_FRAME_TOKENS = 1000
"""Room for what the service adds around the messages."""

Shrink = Callable[[ReadyItem], Awaitable[ReadyItem]]


@dataclass(slots=True)
class _Talk:
    """An item's conversation so far.

    Attributes:
        ready: the item; its images become smaller where the service wants them so.
        made: attempts of the current turn.
        before: attempts of the turns before it.
    """

    ready: ReadyItem
    replies: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    made: int = 0
    before: int = 0
    latency_ms: float = 0.0
    warnings: list[str] = field(default_factory=list)
    last: Answer | None = None
    request_id: str | None = None
    shrunk: bool = False

    def add(self, answered: Answered) -> Answer:
        """Counts an answer that was paid for, now or in an earlier run."""
        answer = answered.answer
        if answer.billed:
            self.usage += answer.usage
        self.cost_usd += answered.cost_usd
        self.made = answered.attempts
        self.latency_ms += answered.latency_ms
        self.warnings += answer.warnings
        self.last = answer
        self.request_id = answered.request_id
        return answer

    def close_turn(self, reply: str) -> None:
        """The turn has its reply."""
        self.replies.append(reply)
        self.before, self.made = self.before + self.made, 0


class Captioner:
    """Asks ready items and settles what they come to.

    Args:
        client: asks turns.
        ledger: writes outcomes down.
        plan: prompt, model and bodies.
        smaller: makes an item's images smaller.

    Attributes:
        resumable: keys of items with paid turns of earlier runs.
    """

    def __init__(self, client: Client, ledger: Ledger, plan: RunPlan, smaller: Shrink) -> None:
        self._client = client
        self._ledger = ledger
        self._plan = plan
        self._smaller = smaller
        self._asking: dict[bytes, anyio.Event] = {}
        self.resumable: set[bytes] = set()

    async def caption(self, ready: ReadyItem) -> Outcome:
        """Asks the item and writes its outcome down; durable when this returns.

        Raises:
            RunStoppedError: the service gave an answer that no retry can mend.
            PacerClosedError: the run drains; the item stays open.
            BudgetReachedError: the budget has no room for it.
            OutputError: the outcome cannot be written.
        """
        if not self._plan.config.output.reuse:
            return await self._asked(ready, None)
        sent = tuple(tuple(f"{image.record.sent_sha256}" for image in images) for images in ready.plan.images)
        key = reuse_key(self._plan.fingerprint, ready.plan.texts, sent)
        while key in self._asking:
            await self._asking[key].wait()
        self._asking[key] = done = anyio.Event()
        try:
            copied = await self._copied(ready, key)
            return copied or await self._asked(ready, key)
        finally:
            del self._asking[key]
            done.set()

    async def _copied(self, ready: ReadyItem, key: bytes) -> Outcome | None:
        row = await self._ledger.answer_for(key)
        if row is None:
            return None
        outcome = Outcome(
            ready.item,
            ready.records,
            caption=row["caption"],
            replies=tuple(row["replies"]),
            stop_reason=row["stop_reason"],
            model=row["model"],
            message_id=row["message_id"],
            request_id=row["request_id"],
            mode=Mode.REUSED,
            warnings=tuple(row["warnings"]),
            thumbnail=_thumbnail(ready),
        )
        with anyio.CancelScope(shield=True):
            await self._ledger.settle(outcome, key=ready.key)
        return outcome

    async def _asked(self, ready: ReadyItem, key: bytes | None) -> Outcome:
        talk, error = _Talk(ready), None
        try:
            await self._converse(talk)
        except ItemError as caught:
            error = caught
        last = talk.last
        outcome = Outcome(
            ready.item,
            talk.ready.records,
            error=error,
            caption=talk.replies[-1] if talk.replies else "",
            replies=tuple(talk.replies),
            stop_reason=last.stop_reason if last else None,
            model=last.model if last else None,
            message_id=last.message_id if last else None,
            request_id=talk.request_id,
            usage=talk.usage,
            cost_usd=talk.cost_usd,
            attempts=talk.before + talk.made,
            latency_ms=talk.latency_ms,
            warnings=tuple(dict.fromkeys(talk.warnings)),
            thumbnail=_thumbnail(ready),
        )
        with anyio.CancelScope(shield=True):
            await self._ledger.settle(outcome, key=ready.key, reuse=key)
        return outcome

    async def _converse(self, talk: _Talk) -> None:
        paid = await self._paid(talk.ready)
        turns = len(talk.ready.plan.texts)
        for turn in range(1, turns + 1):
            answer = self._from_journal(talk, [one for one in paid if one.turn == turn])
            if answer is None:
                answer = await self._ask(talk, turn, self._plan.writers.usual, self._plan.writers.max_tokens)
            if self._wants_more(answer, paid, turn):
                answer = await self._ask(talk, turn, self._plan.writers.larger, self._plan.writers.largest_tokens)
            self._check(answer, talk, is_last=turn == turns)
            talk.close_turn((talk.ready.plan.prefill if turn == turns else "") + answer.text)

    async def _ask(self, talk: _Talk, turn: int, writer: BodyWriter, cap: int) -> Answer:
        """One answer; smaller images where the service found the request too large."""
        messages = talk.ready.plan.messages(talk.replies)
        need = self._need(writer, messages, cap)
        question = Question(talk.ready.item.item_id, turn, writer.body(messages), need, talk.made)
        try:
            return talk.add(await self._client.ask(question))
        except AnswerError as error:
            talk.made += error.attempts
            if not isinstance(error, RequestTooLargeError) or talk.shrunk or not talk.ready.images:
                raise
        talk.ready, talk.shrunk = await self._smaller(talk.ready), True
        return await self._ask(talk, turn, writer, cap)

    def _from_journal(self, talk: _Talk, paid: list[PaidTurn]) -> Answer | None:
        answer = None
        for one in paid:
            row = one.body
            said = parse_answer(one.answer)
            answered = Answered(said, one.attempt, row["duration_ms"], row["cost_usd"] or 0.0, row["request_id"])
            answer = talk.add(answered)
        return answer

    def _wants_more(self, answer: Answer, paid: list[PaidTurn], turn: int) -> bool:
        """Whether a truncated answer is asked again with a larger cap: once, paid turns of earlier runs included."""
        asked = sum(one.turn == turn for one in paid)
        return self._plan.config.prompt.on_truncated == "retry" and "truncated" in answer.warnings and asked < 2

    async def _paid(self, ready: ReadyItem) -> list[PaidTurn]:
        if ready.key not in self.resumable:
            return []
        return await self._ledger.paid_turns(ready.item)

    def _need(self, writer: BodyWriter, messages: list[Message], max_tokens: int) -> Need:
        image_tokens, characters = writer.need(messages)
        most_input = image_tokens + characters * _TOKENS_A_CHARACTER + _FRAME_TOKENS
        worst = worst_cost_usd(self._plan.model, most_input, max_tokens) or 0.0
        return Need(image_tokens, characters, max_tokens, worst)

    def _check(self, answer: Answer, talk: _Talk, *, is_last: bool) -> None:
        """Turns answers that are none into failures.

        Raises:
            AnswerError: a refusal; a truncated answer where `prompt.on_truncated` is `fail`; no text to go on from.
        """
        if answer.refusal is not None:
            raise AnswerError(ErrorType.REFUSAL, answer.refusal, http_status=200, request_id=talk.request_id)
        if "truncated" in answer.warnings and self._plan.config.prompt.on_truncated == "fail":
            text = "the answer was cut off at api.max_tokens; raise it, or set prompt.on_truncated to keep or retry"
            raise AnswerError(ErrorType.INVALID_REQUEST, text, http_status=200, request_id=talk.request_id)
        if not is_last and not answer.text.strip():
            text = f"turn {len(talk.replies) + 1} was answered without text, so the conversation cannot go on"
            raise AnswerError(ErrorType.BAD_RESPONSE, text, http_status=200, request_id=talk.request_id)


def _thumbnail(ready: ReadyItem) -> bytes | None:
    return ready.images[0].thumbnail if ready.images else None
