"""One turn of one item: permit, send, classify, record, and again.

Every attempt takes a fresh permit, is noted before it leaves and recorded before anything else happens to its answer.
What comes back is an answer, or an error that says what it costs: the item (`AnswerError`) or the run
(`RunStoppedError`).
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

import anyio

from pipeline.api.catalogue import Model, cost_usd
from pipeline.api.messages import Answer, parse_answer, parse_error
from pipeline.api.retry import Action, AttemptFailedError, Verdict, judge, retrying
from pipeline.api.transport import Reply, Session, Unanswered
from pipeline.errors import AnswerError, ErrorType, RunStoppedError
from pipeline.limits.pacer import Need, OutageError, Pacer, Permit
from pipeline.records import Attempt, Mode, Usage
from pipeline.settings import SettingsRetry

__all__ = ["Answered", "Client", "FileGoneError", "Question", "Recorder", "RequestTooLargeError"]

logger = logging.getLogger(__name__)
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


class FileGoneError(AnswerError):
    """A 404 to a request that names uploaded files: one of them may be gone; upload them again and ask again, once."""


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
        names_files: whether it names uploaded files, so that a 404 may be about one of them.
    """

    item_id: str
    turn: int
    body: bytes = field(repr=False)
    need: Need
    attempts_before: int = 0
    names_files: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn's answer with what it took."""

    answer: Answer
    attempts: int
    latency_ms: float
    cost_usd: float
    request_id: str | None
    mode: Mode = Mode.MESSAGES


class Client:
    """Asks turns of the endpoints.

    Args:
        sessions: one for each endpoint of the pacer, in its order.
        pacer: gives leave to send.
        recorder: where attempts are written down.
        model: for prices.
        retry: the `retry` section.
    """

    def __init__(
        self, sessions: Sequence[Session], pacer: Pacer, recorder: Recorder, model: Model, retry: SettingsRetry
    ) -> None:
        self._sessions = sessions
        self._pacer = pacer
        self._recorder = recorder
        self._model = model
        self._retry = retry
        self._chance = random.Random()  # noqa: S311 - jitter, no secret

    async def ask(self, question: Question) -> Answered:
        """The answer of one turn, retried as its failures allow.

        Raises:
            RequestTooLargeError: the item fails, unless its images can be made smaller.
            FileGoneError: it fails, unless its files can be uploaded again.
            AnswerError: the item fails; `attempts` are those made here, without `attempts_before`.
            RunStoppedError: no retry can mend it.
            PacerClosedError: the run drains; nothing more was sent.
            BudgetReachedError: the budget has no room.
        """
        in_outage = self._pacer.outlasted
        try:
            return await self._once(question, 1)
        except AttemptFailedError as error:
            first = error
        except AnswerError as error:
            error.attempts = 1
            raise
        return await self._again(question, first, in_outage=in_outage)

    async def _again(self, question: Question, first: AttemptFailedError, *, in_outage: bool) -> Answered:
        """What follows a first attempt that failed. Most do not: they are spared the loop."""
        made, failures = 0, [first]

        async def pause(seconds: float) -> None:
            last = failures[-1]
            await self._pacer.retry(seconds, limited=last.verdict.limited or last.in_outage or not last.counts)

        loop = retrying(self._retry, self._chance, sleep=pause)
        try:
            async for attempt in loop:
                with attempt:
                    made += 1
                    if made == 1:
                        raise first
                    return await self._noted(question, made, failures)
        except AttemptFailedError as error:
            raise self._final(error.verdict, made, question) from error
        except OutageError as error:
            if in_outage:
                raise self._outlasted(failures[-1].verdict) from error
            raise self._final(failures[-1].verdict, made - 1, question) from error
        except AnswerError as error:
            error.attempts = made
            raise
        raise AssertionError("tenacity ends with a result or an error")

    async def _noted(self, question: Question, number: int, failures: list[AttemptFailedError]) -> Answered:
        """One attempt; its failure is kept, for what follows depends on the last one."""
        try:
            return await self._once(question, number)
        except AttemptFailedError as error:
            failures.append(error)
            raise

    async def _once(self, question: Question, made: int) -> Answered:
        permit = await self._pacer.permit(question.need, asker=id(question), tried=made - 1)
        number = question.attempts_before + made
        started_at = datetime.now(UTC)
        try:
            flight = self._recorder.depart(question.item_id, question.turn, number, started_at)
        except BaseException:
            permit.unsent(overloaded=False)
            raise
        ticket = _Ticket(question, number, flight, started_at, anyio.current_time())
        try:
            reply = await self._sessions[permit.lane].post("/v1/messages", question.body)
        except BaseException as error:
            # Cancellation and bugs too: an attempt that left has a row, and its permit ends.
            with anyio.CancelScope(shield=True):
                await self._unanswered(ticket, permit, error)
            raise
        with anyio.CancelScope(shield=True):
            if reply.status == 200:
                return await self._received(ticket, permit, reply)
            verdict = await self._refused(ticket, permit, reply)
            raise AttemptFailedError(verdict, counts=not verdict.elsewhere, in_outage=permit.in_outage)
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
            verdict = Verdict.unanswered(error_type, str(error))
            raise AttemptFailedError(verdict, in_outage=permit.in_outage) from error

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
        stops = verdict.action is Action.STOP and not (reply.status == 404 and ticket.question.names_files)
        permit.refused(
            reply.headers,
            limited_s=pause_s if verdict.limited else None,
            overloaded=verdict.overloaded,
            ramp=verdict.error_code == "ramp_limit_exceeded",
            retire=stops,
        )
        attempt = replace(ticket.attempt(reply, said.error_type), usage=Usage(), cost_usd=0.0)
        await self._recorder.arrive(ticket.flight, attempt)
        if stops and not self._pacer.closed:
            logger.warning(
                "endpoint %d takes nothing more in this run: %s (HTTP %d): %s",
                permit.lane + 1,
                verdict.error_type,
                reply.status,
                verdict.message,
                extra={"item_id": ticket.question.item_id, "request_id": reply.request_id},
            )
            return replace(verdict, action=Action.RETRY, elsewhere=True)
        return verdict

    def _outlasted(self, verdict: Verdict) -> RunStoppedError:
        """The run's end: an item was first tried when the outage had lasted too long already."""
        return RunStoppedError(
            f"the service has failed for too long (last: {verdict.error_type}: {verdict.message}); "
            "what is left stays pending: run again to go on"
        )

    def _final(self, verdict: Verdict, attempts: int, question: Question) -> AnswerError | RunStoppedError:
        file_gone = verdict.http_status == 404 and question.names_files
        if verdict.action is Action.STOP and not file_gone:
            status = verdict.http_status or 0
            remedy = _REMEDIES.get(verdict.error_code or "") or _REMEDIES.get(verdict.error_type)
            if status == 404:
                remedy = f'unknown model "{self._model.id}", or no Messages API at api.base_url (given without /v1)'
            elif 300 <= status < 400:
                remedy = "check api.base_url"
            return RunStoppedError(
                f"{verdict.error_type} (HTTP {status}): {'; '.join(filter(None, (verdict.message, remedy)))}"
            )
        kind = RequestTooLargeError if verdict.action is Action.SHRINK else FileGoneError if file_gone else AnswerError
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
