"""One turn of one item: permit, send, classify, record, and again.

Every attempt takes a fresh permit, is noted before it leaves and recorded before anything else happens to its answer.
What comes back is an answer, or an error that says what it costs: the item (`AnswerError`) or the run
(`RunStoppedError`).
"""

import random
from dataclasses import dataclass, field, replace
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

__all__ = ["Answered", "Client", "Question", "Recorder", "RequestTooLargeError"]

_DEFAULT_PAUSE_S = 1.0
"""How long everybody waits after a 429 that names no time."""
_REMEDIES = {
    "authentication_error": "check the key in the variable that api.api_key_env names",
    "permission_error": "the key may not use this model or workspace",
    "billing_error": "the account has no credit",
    "rate_limit_error": "the account's spending limit is reached, or the service forbids to try again",
    "organization_on_hold": "the account is disabled",
}


class RequestTooLargeError(AnswerError):
    """The service takes the request, once its images are smaller: shrink them and ask again, once."""


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
            RequestTooLargeError: the item fails, unless its images can be made smaller.
            AnswerError: the item fails; `attempts` are those made here, without `attempts_before`.
            RunStoppedError: no retry can mend it.
            PacerClosedError: the run drains; nothing more was sent.
            BudgetReachedError: the budget has no room.
        """
        made = 0
        loop = retrying(self._retry, self._chance, sleep=self._pacer.sleep)
        try:
            async for attempt in loop:
                with attempt:
                    made += 1
                    return await self._once(question, question.attempts_before + made)
        except AttemptFailedError as error:
            raise self._final(error.verdict, made) from error
        except AnswerError as error:
            error.attempts = made
            raise
        raise AssertionError("tenacity ends with a result or an error")

    async def _once(self, question: Question, number: int) -> Answered:
        permit = await self._pacer.permit(question.need)
        started_at = datetime.now(UTC)
        try:
            flight = self._recorder.depart(question.item_id, question.turn, number, started_at)
        except BaseException:
            permit.unsent(overloaded=False)
            raise
        ticket = _Ticket(question, number, flight, started_at, anyio.current_time())
        try:
            reply = await self._session.post("/v1/messages", question.body)
        except BaseException as error:
            # Cancellation and bugs too: an attempt that left has a row, and its permit ends.
            with anyio.CancelScope(shield=True):
                await self._unanswered(ticket, permit, error)
            raise
        with anyio.CancelScope(shield=True):
            if reply.status == 200:
                return await self._received(ticket, permit, reply)
            raise AttemptFailedError(await self._refused(ticket, permit, reply))
        raise AssertionError("a shielded scope swallows nothing")

    async def _unanswered(self, ticket: "_Ticket", permit: Permit, error: BaseException) -> None:
        if isinstance(error, RunStoppedError):
            permit.unsent(overloaded=False)
        elif isinstance(error, Unanswered) and not error.sent:
            permit.unsent()
        else:
            permit.lost(overloaded=isinstance(error, Unanswered))
        error_type = error.error_type if isinstance(error, Unanswered) else str(ErrorType.CONNECTION_ERROR)
        await self._recorder.arrive(ticket.flight, ticket.attempt(None, error_type))
        if isinstance(error, Unanswered):
            raise AttemptFailedError(Verdict.unanswered(error_type, str(error))) from error

    async def _received(self, ticket: "_Ticket", permit: Permit, reply: Reply) -> Answered:
        """Reads a 200. What does not say its usage is taken to have cost the most that it can."""
        latency_s = reply.elapsed_ms / 1000
        try:
            answer = parse_answer(reply.body)
        except AnswerError as error:
            permit.answered(None, ticket.question.need.worst_usd, reply.headers, latency_s)
            error.http_status, error.request_id = reply.status, reply.request_id
            try:
                await self._recorder.keep_unreadable(reply.request_id or f"flight-{ticket.flight}", reply.body)
            finally:
                await self._recorder.arrive(ticket.flight, ticket.attempt(reply, error.error_type))
            raise
        billed = answer.usage if answer.billed else Usage()
        cost = cost_usd(self._model, billed) or 0.0
        if "no_usage" in answer.warnings:
            permit.answered(None, ticket.question.need.worst_usd, reply.headers, latency_s)
        else:
            permit.answered(answer.usage, cost, reply.headers, latency_s)
        attempt = replace(
            ticket.attempt(reply), usage=billed, cost_usd=cost, service_tier=answer.service_tier, answer=reply.body
        )
        await self._recorder.arrive(ticket.flight, attempt)
        return Answered(answer, ticket.number, reply.elapsed_ms, cost, reply.request_id)

    async def _refused(self, ticket: "_Ticket", permit: Permit, reply: Reply) -> Verdict:
        said = parse_error(reply.body, reply.status)
        verdict = judge(reply.status, said, reply.headers, datetime.now(UTC))
        pause_s = verdict.wait_s or min(_DEFAULT_PAUSE_S, self._retry.max_wait_seconds)
        permit.refused(reply.headers, limited_s=pause_s if verdict.limited else None, overloaded=verdict.overloaded)
        attempt = replace(ticket.attempt(reply, said.error_type), usage=Usage(), cost_usd=0.0)
        await self._recorder.arrive(ticket.flight, attempt)
        return verdict

    def _final(self, verdict: Verdict, attempts: int) -> AnswerError | RunStoppedError:
        if verdict.action is Action.STOP:
            status = verdict.http_status or 0
            remedy = _REMEDIES.get(verdict.error_code or "") or _REMEDIES.get(verdict.error_type)
            if status == 404:
                remedy = f'unknown model "{self._model.id}", or no Messages API at api.base_url (given without /v1)'
            elif 300 <= status < 400:
                remedy = "check api.base_url"
            return RunStoppedError(
                f"{verdict.error_type} (HTTP {status}): {'; '.join(filter(None, (verdict.message, remedy)))}"
            )
        kind = RequestTooLargeError if verdict.action is Action.SHRINK else AnswerError
        error = kind(
            verdict.error_type,
            verdict.message,
            retryable=verdict.retryable,
            http_status=verdict.http_status,
            request_id=verdict.request_id,
        )
        error.attempts = attempts
        return error


@dataclass(frozen=True, slots=True)
class _Ticket:
    """An attempt under way."""

    question: Question
    number: int
    flight: int
    started_at: datetime
    started: float

    def attempt(self, reply: Reply | None, error_type: str | None = None) -> Attempt:
        """Its row so far: what is known whatever the answer says."""
        return Attempt(
            item_id=self.question.item_id,
            turn=self.question.turn,
            attempt=self.number,
            started_at=self.started_at,
            duration_ms=reply.elapsed_ms if reply else (anyio.current_time() - self.started) * 1000,
            http_status=reply.status if reply else None,
            error_type=error_type,
            request_id=reply.request_id if reply else None,
        )
