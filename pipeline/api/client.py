"""One turn of one item: permit, send, classify, record, and again.

Every attempt takes a fresh permit, is noted before it leaves and recorded before anything else happens to its answer.
What comes back is an answer, or an error that says what it costs: the item (`AnswerError`) or the run
(`RunStoppedError`).
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import anyio

from pipeline.api.catalogue import Model, cost_usd
from pipeline.api.messages import Answer, parse_answer, parse_error
from pipeline.api.retry import Action, AttemptFailedError, Verdict, judge, retrying
from pipeline.api.transport import Reply, Session, Unanswered
from pipeline.errors import AnswerError, ErrorType, RunStoppedError
from pipeline.limits.pacer import Need, Pacer, Permit
from pipeline.records import Attempt, Usage
from pipeline.settings import SettingsRetry

__all__ = ["Answered", "Client", "Question", "Recorder"]

_DEFAULT_PAUSE_S = 1.0
_REMEDIES = {
    "authentication_error": "check the key in the variable that api.api_key_env names",
    "permission_error": "the key may not use this model or workspace",
    "billing_error": "the account has no credit",
    "not_found_error": "check api.model and api.base_url",
    "rate_limit_error": "the account's spending limit is reached",
}


class Recorder(Protocol):
    """Where attempts are written down; durable when `arrive` returns."""

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """A request is about to be sent; the number goes back into `arrive`."""

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Its end."""

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps an answer that cannot be read and may have been paid for."""


@dataclass(frozen=True, slots=True)
class Question:
    """One turn to be asked.

    Attributes:
        item_id: whose turn.
        turn: counted from 1.
        body: the JSON that is sent.
        need: what it takes of the limits.
        attempts_before: attempts of this turn already made in this run.
    """

    item_id: str
    turn: int
    body: bytes = field(repr=False)
    need: Need
    attempts_before: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn's answer with what it took."""

    answer: Answer
    attempts: int
    latency_ms: float
    cost_usd: float
    request_id: str | None


class Client:
    """Asks turns of one endpoint."""

    def __init__(self, session: Session, pacer: Pacer, recorder: Recorder, model: Model, retry: SettingsRetry) -> None:
        self._session = session
        self._pacer = pacer
        self._recorder = recorder
        self._model = model
        self._retry = retry
        self._chance = random.Random()  # noqa: S311 - jitter, no secret

    async def ask(self, question: Question) -> Answered:
        """The answer of one turn, retried as its failures allow.

        Raises:
            AnswerError: the item fails; `attempts` in its notes.
            RunStoppedError: no retry can mend it.
            PacerClosedError: the run drains; nothing more was sent.
            BudgetReachedError: the budget has no room.
        """
        made = question.attempts_before
        loop = retrying(self._retry, self._chance, sleep=self._pacer.sleep)
        try:
            async for attempt in loop:
                with attempt:
                    made += 1
                    return await self._once(question, made)
        except AttemptFailedError as error:
            raise _final(error.verdict, made) from error
        raise AssertionError("tenacity ends with a result or an error")

    async def _once(self, question: Question, number: int) -> Answered:
        permit = await self._pacer.permit(question.need)
        started_at = datetime.now(UTC)
        flight = self._recorder.depart(question.item_id, question.turn, number, started_at)
        ticket = _Ticket(question, number, flight, started_at, anyio.current_time())
        try:
            reply = await self._session.post("/v1/messages", question.body)
        except Unanswered as error:
            permit.lost(overloaded=True) if error.sent else permit.unsent()
            await self._record(ticket, error_type=error.error_type)
            raise AttemptFailedError(Verdict.unanswered(error.error_type, str(error))) from error
        except BaseException:
            permit.lost(overloaded=False)
            with anyio.CancelScope(shield=True):
                await self._record(ticket, error_type=ErrorType.CONNECTION_ERROR)
            raise
        with anyio.CancelScope(shield=True):
            if reply.status == 200:
                return await self._received(ticket, permit, reply)
            await self._refused(ticket, permit, reply)
        raise AssertionError("a refusal raises")

    async def _received(self, ticket: "_Ticket", permit: Permit, reply: Reply) -> Answered:
        try:
            answer = parse_answer(reply.body)
        except AnswerError as error:
            permit.lost(overloaded=False)
            name = reply.request_id or f"flight-{ticket.flight}"
            await self._recorder.keep_unreadable(name, reply.body)
            await self._record(ticket, reply=reply, error_type=error.error_type)
            error.http_status, error.request_id, error.attempts = reply.status, reply.request_id, ticket.number
            raise
        usage = answer.usage if answer.billed else Usage()
        cost = cost_usd(self._model, usage) or 0.0
        permit.answered(usage, cost, reply.headers, reply.elapsed_ms / 1000)
        tier = answer.service_tier
        await self._record(ticket, reply=reply, usage=usage, cost=cost, tier=tier, answer=reply.body)
        return Answered(answer, ticket.number, reply.elapsed_ms, cost, reply.request_id)

    async def _refused(self, ticket: "_Ticket", permit: Permit, reply: Reply) -> None:
        said = parse_error(reply.body, reply.status)
        verdict = judge(
            reply.status,
            (said.error_type, said.message, said.error_code),
            reply.headers,
            datetime.now(UTC),
            reply.request_id or said.request_id,
        )
        pause = (verdict.wait_s or _DEFAULT_PAUSE_S) if verdict.limited else None
        permit.refused(reply.headers, limited_s=pause, overloaded=verdict.overloaded)
        await self._record(ticket, reply=reply, usage=Usage(), cost=0.0, error_type=said.error_type)
        raise AttemptFailedError(verdict)

    async def _record(
        self,
        ticket: "_Ticket",
        *,
        reply: Reply | None = None,
        usage: Usage | None = None,
        cost: float | None = None,
        error_type: str | None = None,
        tier: str | None = None,
        answer: bytes | None = None,
    ) -> None:
        elapsed = reply.elapsed_ms if reply else (anyio.current_time() - ticket.started) * 1000
        attempt = Attempt(
            item_id=ticket.question.item_id,
            turn=ticket.question.turn,
            attempt=ticket.number,
            started_at=ticket.started_at,
            duration_ms=elapsed,
            http_status=reply.status if reply else None,
            error_type=str(error_type) if error_type else None,
            request_id=reply.request_id if reply else None,
            usage=usage,
            service_tier=tier,
            cost_usd=cost,
            answer=answer,
        )
        await self._recorder.arrive(ticket.flight, attempt)


@dataclass(frozen=True, slots=True)
class _Ticket:
    question: Question
    number: int
    flight: int
    started_at: datetime
    started: float


def _final(verdict: Verdict, attempts: int) -> AnswerError | RunStoppedError:
    if verdict.action is Action.STOP:
        remedy = _REMEDIES.get(verdict.error_type)
        status = f" (HTTP {verdict.http_status})" if verdict.http_status else ""
        return RunStoppedError(f"{verdict.error_type}{status}: {verdict.message}{f'; {remedy}' if remedy else ''}")
    error = AnswerError(
        verdict.error_type,
        verdict.message,
        retryable=verdict.action is Action.RETRY,
        http_status=verdict.http_status,
        request_id=verdict.request_id,
    )
    error.attempts = attempts
    return error
