"""One item asked, turn by turn, to its outcome: the stage that spends money.

Paid turns of an earlier run are taken from the journal and not asked again. An identical request that was answered in
this dataset is copied; one that is in flight is waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from pipeline.api.body import TRUNCATED_FACTOR
from pipeline.api.catalogue import Model, worst_cost_usd
from pipeline.api.client import Answered, Client, Question
from pipeline.api.messages import Answer, BodyWriter, parse_answer
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import AnswerError, ErrorType, ItemError
from pipeline.fingerprint import reuse_key
from pipeline.limits.pacer import Need
from pipeline.records import Message, Mode, Outcome, Usage
from pipeline.settings import Config
from pipeline.store.journal import PaidTurn
from pipeline.store.ledger import Ledger

__all__ = ["Captioner", "Writers"]

_TOKENS_A_CHARACTER = 4
"""Tokens that a character can cost at the most, for the budget: a tokenizer makes no more of it than its bytes."""
_FRAME_TOKENS = 1000
"""Room for what the service adds around the messages."""


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of bodies: with the usual cap, and with the larger one for an answer that was cut off."""

    usual: BodyWriter
    larger: BodyWriter
    max_tokens: int
    largest_tokens: int


@dataclass(slots=True)
class _Progress:
    """What an item has come to so far, over its turns."""

    replies: list[str] = field(default_factory=list)
    usage: Usage = Usage()
    cost_usd: float = 0.0
    attempts: int = 0
    latency_ms: float = 0.0
    warnings: list[str] = field(default_factory=list)
    last: Answer | None = None
    request_id: str | None = None


class Captioner:
    """Asks ready items and settles what they come to."""

    def __init__(self, client: Client, ledger: Ledger, config: Config, model: Model, writers: Writers) -> None:
        self._client = client
        self._ledger = ledger
        self._config = config
        self._model = model
        self._writers = writers
        self._asking: dict[bytes, anyio.Event] = {}
        self.resumable: set[bytes] = set()

    async def caption(self, ready: ReadyItem, fingerprint: str) -> Outcome:
        """Asks the item and writes its outcome down; durable when this returns.

        Raises:
            RunStoppedError: the service gave an answer that no retry can mend.
            PacerClosedError: the run drains; the item stays open.
            BudgetReachedError: the budget has no room for it.
            OutputError: the outcome cannot be written.
        """
        if not self._config.output.reuse:
            return await self._asked(ready, None)
        sent = tuple(tuple(f"{image.record.sent_sha256}" for image in images) for images in ready.plan.images)
        key = reuse_key(fingerprint, ready.plan.texts, sent)
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
        await self._ledger.settle(outcome, key=ready.key)
        return outcome

    async def _asked(self, ready: ReadyItem, key: bytes | None) -> Outcome:
        progress = _Progress()
        error: ItemError | None = None
        try:
            await self._turns(ready, progress)
        except ItemError as caught:
            error = caught
            progress.attempts += caught.attempts
        last = progress.last
        outcome = Outcome(
            ready.item,
            ready.records,
            error=error,
            caption=progress.replies[-1] if progress.replies else "",
            replies=tuple(progress.replies),
            stop_reason=last.stop_reason if last else None,
            model=last.model if last else None,
            message_id=last.message_id if last else None,
            request_id=progress.request_id,
            usage=progress.usage,
            cost_usd=progress.cost_usd,
            attempts=progress.attempts,
            latency_ms=progress.latency_ms,
            warnings=tuple(dict.fromkeys(progress.warnings)),
            thumbnail=_thumbnail(ready),
        )
        with anyio.CancelScope(shield=True):
            await self._ledger.settle(outcome, key=ready.key, reuse=key)
        return outcome

    async def _turns(self, ready: ReadyItem, progress: _Progress) -> None:
        paid = await self._paid(ready)
        for turn in range(1, len(ready.plan.texts) + 1):
            messages = ready.plan.messages(progress.replies)
            is_last = turn == len(ready.plan.texts)
            answered = await self._turn(ready, turn, messages, [one for one in paid if one.turn == turn], progress)
            self._checked(answered)
            head = ready.plan.prefill if is_last else ""
            progress.replies.append(head + answered.text)

    async def _turn(
        self, ready: ReadyItem, turn: int, messages: list[Message], paid: Sequence[PaidTurn], progress: _Progress
    ) -> Answer:
        """One turn's answer, from the journal where it is paid; asked once more, with room, where it was cut off."""
        again = self._config.prompt.on_truncated == "retry"
        answers = []
        for one in paid:
            answer = parse_answer(one.answer)
            answers.append(answer)
            _add(progress, answer, _from_row(one, answer))
        for writer, cap in (
            (self._writers.usual, self._writers.max_tokens),
            (self._writers.larger, self._writers.largest_tokens),
        ):
            if answers and (not again or "truncated" not in answers[-1].warnings or len(answers) > 1):
                break
            made = progress.attempts if answers else 0
            question = Question(
                ready.item.item_id, turn, writer.body(messages), self._need(writer, messages, cap), made
            )
            answered = await self._client.ask(question)
            answers.append(answered.answer)
            _add(progress, answered.answer, answered, before=made)
        return answers[-1]

    async def _paid(self, ready: ReadyItem) -> list[PaidTurn]:
        if ready.key not in self.resumable:
            return []
        return await self._ledger.paid_turns(ready.item)

    def _need(self, writer: BodyWriter, messages: Sequence[Message], max_tokens: int) -> Need:
        image_tokens, characters = writer.need(messages)
        most_input = image_tokens + characters * _TOKENS_A_CHARACTER + _FRAME_TOKENS
        worst = worst_cost_usd(self._model, most_input, max_tokens) or 0.0
        return Need(image_tokens, characters, max_tokens, worst)

    def _checked(self, answer: Answer) -> None:
        """Turns answers that are none into failures.

        Raises:
            AnswerError: a refusal, or a truncated answer where `prompt.on_truncated` is `fail`.
        """
        if answer.refusal is not None:
            raise AnswerError(ErrorType.REFUSAL, answer.refusal, http_status=200)
        if "truncated" in answer.warnings and self._config.prompt.on_truncated == "fail":
            raise AnswerError(
                ErrorType.INVALID_REQUEST,
                "the answer was cut off at api.max_tokens; raise it, or set prompt.on_truncated to keep or retry",
                http_status=200,
            )


def _add(progress: _Progress, answer: Answer, answered: Answered, *, before: int = 0) -> None:
    if answer.billed:
        progress.usage += answer.usage
    progress.cost_usd += answered.cost_usd
    progress.attempts += answered.attempts - before
    progress.latency_ms += answered.latency_ms
    progress.warnings += answer.warnings
    progress.last = answer
    progress.request_id = answered.request_id


def _from_row(paid: PaidTurn, answer: Answer) -> Answered:
    row = paid.body
    return Answered(answer, paid.attempt, row["duration_ms"], row["cost_usd"] or 0.0, row["request_id"])


def _thumbnail(ready: ReadyItem) -> bytes | None:
    return ready.images[0].thumbnail if ready.images else None
