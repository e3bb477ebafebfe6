"""One item asked, turn by turn, to its outcome: the stage that spends money.

A turn is one answer of the service: to the user, or, where the model calls tools, to their results. Paid turns of an
earlier run are taken from the journal, in the order in which they were paid, and the same rules run over them as over
new answers; so whatever was asked again, it is not asked a third time. An identical request that was answered in this
dataset is copied; one that is in flight is waited for. What the service does not take is sent once more in a form that
it may take (see `carrying`).
"""

import json
from collections import deque
from collections.abc import Container
from functools import partial
from typing import Protocol

import anyio

from pipeline.api.body import RECORD_TOOL
from pipeline.api.catalogue import worst_cost_usd
from pipeline.api.client import Answered, Question
from pipeline.api.messages import Answer, BodyWriter, parse_answer
from pipeline.engines.batches.parking import ParkedError
from pipeline.engines.carrying import RENEWED, Carrier, names_files
from pipeline.engines.conversation import Talk
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import ReadyItem
from pipeline.engines.tooling import ToolBox
from pipeline.engines.warming import CacheWarmth
from pipeline.errors import AnswerError, ErrorType, ItemError
from pipeline.fingerprint import reuse_key
from pipeline.limits.pacer import Need
from pipeline.prompts.schemas import SchemaMismatchError
from pipeline.records import Block, Message, Mode, Outcome
from pipeline.store.journal import PaidTurn
from pipeline.store.ledger import Ledger

__all__ = ["Asker", "Captioner"]

_FRAME_TOKENS = 1000
"""Room for what the service adds around the messages."""
_EXCERPT_CHARS = 2000
"""Of an answer that does not fit, kept in the failure's message."""


class Asker(Protocol):
    """Whoever asks the service."""

    async def ask(self, question: Question) -> Answered:
        """The answer of one turn."""


class Captioner:
    """Asks ready items and settles what they come to.

    Args:
        client: asks turns.
        ledger: writes outcomes down.
        plan: prompt, model and bodies.
        carrier: brings an item's images to the service.
        tools: what the model may call, `None` for nothing.
        warms: whether the first question of a cached prefix is asked before the others.

    Attributes:
        resumable: keys of items with paid turns that are not settled.
    """

    def __init__(  # noqa: PLR0913 - what asking stands on, given once where the run is put together
        self,
        client: Asker,
        ledger: Ledger,
        plan: RunPlan,
        carrier: Carrier,
        tools: ToolBox | None = None,
        *,
        warms: bool = True,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._plan = plan
        self._carrier = carrier
        self._tools = tools
        self._asking: dict[bytes, anyio.Event] = {}
        self._warmth = {last: CacheWarmth(is_cached=warms and plan.is_cached) for last in (False, True)}
        self.resumable: Container[bytes] = ()

    async def caption(self, ready: ReadyItem) -> Outcome:
        """Asks the item and writes its outcome down; durable when this returns.

        Raises:
            RunStoppedError: the service gave an answer that no retry can mend.
            PacerClosedError: the run drains; the item stays open.
            BudgetReachedError: the budget has no room for it.
            OutputError: the outcome cannot be written.
        """
        key = self.reuse_of(ready)
        if key is None or ready.key in self.resumable:  # what is paid for already is used before another's answer
            return await self._asked(ready, key)
        while key in self._asking:
            await self._asking[key].wait()
        self._asking[key] = done = anyio.Event()
        try:
            copied = await self._copied(ready, key)
            return copied or await self._asked(ready, key)
        finally:
            del self._asking[key]
            done.set()

    def reuse_of(self, ready: ReadyItem) -> bytes | None:
        """The key that is equal for equal requests, `None` where answers are not reused."""
        if not self._plan.config.output.reuse:
            return None
        sent = tuple(tuple(image.identity for image in images) for images in ready.plan.images)
        return reuse_key(self._plan.fingerprint, ready.plan.texts, sent)

    async def _copied(self, ready: ReadyItem, key: bytes) -> Outcome | None:
        row = await self._ledger.answer_for(key)
        if row is None:
            return None
        outcome = Outcome(
            ready.item,
            ready.records,
            caption=row["caption"],
            replies=tuple(row["replies"]),
            data=row.get("data"),
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
        talk, error = Talk(ready), None
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
            data=talk.data,
            stop_reason=last.stop_reason if last else None,
            model=last.model if last else None,
            message_id=last.message_id if last else None,
            request_id=talk.request_id,
            mode=talk.mode,
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

    async def _converse(self, talk: Talk) -> None:
        talk.paid = deque(await self._paid(talk.ready))
        talk.ready = await self._carrier.loaded(talk.ready)
        for _ in talk.ready.plan.texts:
            if talk.is_last and self._plan.schema is not None:
                talk.close(await self._fitting(talk))
                continue
            answer = await self._answer(talk)
            self._ensure_whole(answer, talk)
            talk.close((talk.ready.plan.prefill if talk.is_last else "") + answer.text)

    async def _fitting(self, talk: Talk) -> str:
        """The JSON text of an answer that fits the schema; one that does not is asked again, as often as allowed.

        Raises:
            AnswerError: `schema_mismatch`, with the start of the answer.
        """
        retries = self._plan.config.prompt.schema_retries
        while True:
            answer = await self._answer(talk)
            text = self._json_text(answer)
            if "truncated" in answer.warnings:
                remedy = "raise api.max_tokens, or set prompt.on_truncated to retry"
                raise talk.fault(ErrorType.SCHEMA_MISMATCH, f"the answer was cut off; {remedy}: {_excerpt(text)}")
            try:
                talk.data = self._plan.schema.read(text) if self._plan.schema else None
                return text
            except SchemaMismatchError as error:
                if retries < 1 and not talk.has_paid:
                    said = f"the answer does not fit prompt.schema: {error}; it was: {_excerpt(text)}"
                    raise talk.fault(ErrorType.SCHEMA_MISMATCH, said) from None
            retries -= 1
            talk.warnings.append("schema_retried")

    def _json_text(self, answer: Answer) -> str:
        """The answer's JSON: the input of the forced call, else its text."""
        if self._plan.config.prompt.schema_via == "tool":
            inputs = [call["input"] for call in answer.calls if call["name"] == RECORD_TOOL]
            return json.dumps(inputs[0], ensure_ascii=False) if inputs else answer.text
        return answer.text

    async def _answer(self, talk: Talk) -> Answer:
        """The reply to the user's current text, once the model has called the tools that it wants to.

        After `prompt.max_tool_turns` it is asked without the right to call more.

        Raises:
            AnswerError: as `_whole_answer`.
        """
        while True:
            answer = await self._whole_answer(talk)
            wants_tools = self._tools is not None and answer.stop_reason == "tool_use" and bool(answer.calls)
            if not wants_tools or talk.tool_turns >= self._plan.config.prompt.max_tool_turns or self._tools is None:
                return answer
            sent = [*self._plan.examples, *talk.ready.plan.messages(talk.replies), *talk.between]
            results = await self._tools.results(answer.calls, talk.ready, sent)
            said = Message("assistant", tuple(Block(block) for block in answer.blocks))
            talk.between += [said, Message("user", results)]
            talk.next_turn()

    async def _whole_answer(self, talk: Talk) -> Answer:
        """The answer of the current turn, with the larger cap where the usual one cut it off.

        Raises:
            AnswerError: it is a refusal, or was cut off and `prompt.on_truncated` is `fail`.
        """
        answer = await self._taken(talk)
        if self._wants_more(answer, talk):
            talk.larger = True
            answer = await self._taken(talk)
        if answer.refusal is not None:
            raise talk.fault(ErrorType.REFUSAL, answer.refusal)
        if "truncated" in answer.warnings and self._plan.config.prompt.on_truncated == "fail":
            text = "the answer was cut off at api.max_tokens; raise it, or set prompt.on_truncated to keep or retry"
            raise talk.fault(ErrorType.INVALID_REQUEST, text)
        return answer

    async def _taken(self, talk: Talk) -> Answer:
        """The next answer of this turn: one that was paid for already, else the service's."""
        if not talk.has_paid:
            return await self._ask(talk)
        one = talk.paid.popleft()
        talk.made = one.attempt
        said = parse_answer(one.answer)  # one from a batch that cannot be read is kept as it came, and fails here
        row = one.body
        return talk.add(
            Answered(
                said, one.attempt, row["duration_ms"], row["cost_usd"] or 0.0, row["request_id"], Mode(row["mode"])
            )
        )

    async def _ask(self, talk: Talk) -> Answer:
        """One answer of the service; in another form where it did not take the first."""
        plan = talk.ready.plan
        writers = self._plan.writers if talk.is_last else self._plan.opening
        if talk.tool_turns >= self._plan.config.prompt.max_tool_turns:
            writers = self._plan.closing[talk.is_last]
        writer, cap = writers.larger_one if talk.larger else writers.usual_one
        messages = [*plan.messages(talk.replies), *talk.between]
        question = Question(
            talk.ready.item.item_id,
            talk.turn,
            writer.body(messages),
            self._need(writer, messages, cap),
            talk.made,
            names_files=names_files(talk.ready) and RENEWED not in talk.tried,
        )
        try:
            return talk.add(await self._warmth[talk.is_last].ask(partial(self._client.ask, question)))
        except AnswerError as error:
            talk.made += error.attempts
            mended = await self._carrier.mended(talk.ready, error, talk.tried)
            if mended is None:
                raise
        except ParkedError as parked:
            parked.ready = talk.ready
            raise
        talk.ready = mended
        return await self._ask(talk)

    def _wants_more(self, answer: Answer, talk: Talk) -> bool:
        """Whether a truncated answer is asked again with a larger cap: once in a turn.

        Where the model can answer no more than the usual cap, the same would be paid for twice.
        """
        writers = self._plan.writers
        if self._plan.config.prompt.on_truncated != "retry" or writers.largest_tokens <= writers.max_tokens:
            return False
        return "truncated" in answer.warnings and not talk.larger

    async def _paid(self, ready: ReadyItem) -> list[PaidTurn]:
        if ready.key not in self.resumable:
            return []
        return await self._ledger.paid_turns(ready.item)

    def _need(self, writer: BodyWriter, messages: list[Message], max_tokens: int) -> Need:
        image_tokens, characters = writer.need(messages)
        most_input = writer.most_tokens(messages) + _FRAME_TOKENS
        worst = worst_cost_usd(self._plan.model, most_input, max_tokens) or 0.0
        return Need(image_tokens, characters, max_tokens, worst)

    def _ensure_whole(self, answer: Answer, talk: Talk) -> None:
        """Refuses to go on from an answer without text.

        Raises:
            AnswerError: `bad_response`.
        """
        if not talk.is_last and not answer.text.strip():
            text = f"turn {talk.turn} was answered without text, so the conversation cannot go on"
            raise talk.fault(ErrorType.BAD_RESPONSE, text)


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS]}..."


def _thumbnail(ready: ReadyItem) -> bytes | None:
    return ready.images[0].thumbnail if ready.images else None
