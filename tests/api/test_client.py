"""One turn against the stand-in and its misfortunes: every attempt recorded once, every permit ended once."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from support.certificates import make_authority, server_context
from support.raw_server import Connection, RawServer, replies, response
from support.standins import answers, billed

from pipeline.api.catalogue import Catalogue
from pipeline.api.client import Answered, Client, FileGoneError, Question, RequestTooLargeError
from pipeline.api.messages import BodyWriter
from pipeline.api.transport import Endpoint, open_session
from pipeline.errors import AnswerError, OutputError, RunStoppedError
from pipeline.limits.budget import Budget
from pipeline.limits.pacer import BudgetReachedError, Need, Pacer, PacerClosedError
from pipeline.records import Attempt, Message, Usage
from pipeline.settings import SettingsLimits, SettingsRetry

pytestmark = pytest.mark.anyio

KEY = "sk-ant-canary-5f1c9b7e2d"
MODEL = "claude-haiku-4-5"
WORST_USD = 0.01
StartStandin = Callable[..., Any]


@dataclass
class Recorder:
    """Keeps in memory what the ledger keeps on disk, and checks that each flight ends once."""

    departed: list[tuple[str, int, int, datetime]] = field(default_factory=list)
    arrived: dict[int, Attempt] = field(default_factory=dict)
    unreadable: dict[str, bytes] = field(default_factory=dict)
    full_disk: bool = False
    unkept: bool = False
    gate: anyio.Event | None = None
    reached: anyio.Event = field(default_factory=anyio.Event)

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """A request is about to be sent."""
        if self.full_disk:
            raise OutputError("no space left")
        self.departed.append((item_id, turn, attempt, started_at))
        return len(self.departed) - 1

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Its end."""
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        assert flight not in self.arrived, "a flight ends once"
        assert self.departed[flight] == (attempt.item_id, attempt.turn, attempt.attempt, attempt.started_at)
        self.arrived[flight] = attempt

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """An answer that cannot be read."""
        if self.unkept:
            raise OSError("no space left")
        self.unreadable[name] = raw

    @property
    def attempts(self) -> list[Attempt]:
        """What ended, in order of departure; fails while anything is still out."""
        assert len(self.arrived) == len(self.departed), "a flight never ended"
        return [self.arrived[flight] for flight in range(len(self.departed))]


@dataclass
class Rig:
    """A client with everything around it."""

    client: Client
    pacer: Pacer
    recorder: Recorder

    async def ask(self, text: str = "Describe the sea.", *, before: int = 0, model: str = MODEL) -> Answered:
        """Asks one turn."""
        body = BodyWriter({"model": model, "max_tokens": 100}).body([Message("user", (text,))])
        need = Need(0, len(text), 100, WORST_USD)
        return await self.client.ask(Question("item-1", 1, body, need, before))

    def at_rest(self) -> list[Attempt]:
        """The attempts, once nothing is in flight or reserved."""
        assert self.pacer.statistics().in_flight == 0
        assert self.pacer.budget.reserved_usd == pytest.approx(0.0)
        return self.recorder.attempts


@asynccontextmanager
async def rig_of_two(urls: Sequence[str]) -> AsyncIterator[Rig]:
    """A client of two endpoints, each with a key of its own."""
    pacer = Pacer(SettingsLimits(concurrency=4), budget=Budget(1.0), weights=[1.0] * len(urls), longest_wait_s=0.05)
    async with AsyncExitStack() as stack:
        sessions = []
        for number, url in enumerate(urls):
            headers = {
                "x-api-key": f"{KEY}-{number}",
                "anthropic-version": "2023-06-01",
                "content-type": "application/json",
            }
            sessions.append(await stack.enter_async_context(open_session(Endpoint(url, headers, 30.0), 4)))
        recorder = Recorder()
        settings = SettingsRetry(max_attempts=4, max_wait_seconds=0.01)
        yield Rig(Client(sessions, pacer, recorder, Catalogue().model(MODEL), settings), pacer, recorder)


@asynccontextmanager
async def rig(url: str, *, timeout_s: float = 30.0, retry: dict[str, Any] | None = None) -> AsyncIterator[Rig]:
    """A client of this server that waits a hundredth of a second at the most, of its own accord."""
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    pacer = Pacer(SettingsLimits(concurrency=4), budget=Budget(1.0), longest_wait_s=0.05)
    settings = SettingsRetry(**{"max_attempts": 4, "max_wait_seconds": 0.01, **(retry or {})})
    async with open_session(Endpoint(url, headers, timeout_s), 4) as session:
        recorder = Recorder()
        yield Rig(Client([session], pacer, recorder, Catalogue().model(MODEL), settings), pacer, recorder)


async def test_an_answer_is_recorded_as_the_service_billed_it(start_standin: StartStandin) -> None:
    """Tokens, cost and request id are those of the server's own log, and the answer's bytes are kept."""
    server = start_standin()
    async with rig(server.url) as it:
        answered = await it.ask()
        [attempt] = it.at_rest()
    [line] = billed(server.options.log)
    assert (answered.attempts, answered.request_id) == (1, line["request_id"])
    assert answered.answer.text == line["caption"]
    assert answered.cost_usd == attempt.cost_usd == it.pacer.budget.spent_usd == pytest.approx(line["cost_usd"])
    assert attempt.usage == Usage(line["input_tokens"], line["output_tokens"])
    assert (attempt.http_status, attempt.error_type, attempt.turn, attempt.attempt) == (200, None, 1, 1)
    assert json.loads(attempt.answer or b"")["content"][0]["text"] == line["caption"]


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        ("429:first=2,retry_after=0", 429, "rate_limit_error"),
        ("429:first=2,retry_after=-5", 429, "rate_limit_error"),
        ("429:first=2,retry_after=soon", 429, "rate_limit_error"),
        ("429:first=2,code=ramp_limit_exceeded", 429, "rate_limit_error"),
        ("500:first=2", 500, "api_error"),
        ("502:first=2", 502, "api_error"),
        ("529:first=2", 529, "overloaded_error"),
        ("408:first=2", 408, "invalid_request_error"),
        ("reset:first=2", None, "connection_error"),
        ("reset_mid_body:first=2", None, "connection_error"),
        ("truncated:first=2", None, "connection_error"),
    ],
)
async def test_passing_faults_are_tried_again(
    fault: str, status: int | None, error_type: str, start_standin: StartStandin
) -> None:
    """Two failures and an answer are three rows: no tokens are known where no answer came, none billed for refusals."""
    async with rig(start_standin(fault).url) as it:
        answered = await it.ask()
        attempts = it.at_rest()
    assert answered.attempts == 3
    assert [attempt.attempt for attempt in attempts] == [1, 2, 3]
    for attempt in attempts[:2]:
        assert (attempt.http_status, attempt.error_type) == (status, error_type)
        assert attempt.usage == (None if status is None else Usage())
        assert attempt.cost_usd == (None if status is None else 0.0)
        assert attempt.answer is None
    assert attempts[2].http_status == 200
    lost = 0 if status is not None else 2
    assert it.pacer.budget.spent_usd == pytest.approx(lost * WORST_USD + answered.cost_usd)


async def test_gives_up_after_so_many_attempts(start_standin: StartStandin) -> None:
    """An item that the service fails four times is left to the next run."""
    async with rig(start_standin("529").url) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        assert len(it.at_rest()) == 4
    error = caught.value
    assert (error.error_type, error.retryable, error.http_status, error.attempts) == ("overloaded_error", True, 529, 4)
    assert (error.request_id or "").startswith("req_")


async def test_a_server_that_is_not_there_fails_the_item_for_now() -> None:
    """A refused connection is retried, costs nothing, and leaves the item to the next run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with rig(f"http://127.0.0.1:{port}", retry={"max_attempts": 3}) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        assert len(it.at_rest()) == 3
    assert (caught.value.error_type, caught.value.retryable, caught.value.attempts) == ("connection_error", True, 3)
    assert it.pacer.budget.spent_usd == 0


async def test_a_timeout_is_tried_again_and_counts_as_possible_spend(start_standin: StartStandin) -> None:
    """Silence may have been billed: what the request could cost at the most stays spent."""
    async with rig(start_standin("black_hole").url, timeout_s=0.3, retry={"max_attempts": 2}) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        attempts = it.at_rest()
    assert [attempt.error_type for attempt in attempts] == ["timeout", "timeout"]
    assert (caught.value.error_type, caught.value.retryable) == ("timeout", True)
    assert it.pacer.budget.spent_usd == pytest.approx(2 * WORST_USD)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", "api.api_key_env"),
        ("402", "no credit"),
        ("403", "may not use"),
        ("404", f'unknown model "{Catalogue().model(MODEL).id}"'),
        ("spend_stop", "spending limit"),
        ("429:should_retry=false,retry_after=1", "forbids"),
        ("400:code=organization_on_hold", "disabled"),
        ("redirect:to=http://evil.example/v1/messages", "http://evil.example"),
        ("redirect", "api.base_url"),
    ],
)
async def test_what_no_retry_can_mend_stops_the_run(fault: str, words: str, start_standin: StartStandin) -> None:
    """One attempt, recorded and free, and a message that says what to do."""
    async with rig(start_standin(fault).url) as it:
        with pytest.raises(RunStoppedError, match=words.replace(".", r"\.")) as caught:
            await it.ask()
        [attempt] = it.at_rest()
    assert caught.value.exit_code == 3
    assert (attempt.cost_usd, attempt.usage) == (0.0, Usage())
    assert it.pacer.budget.spent_usd == 0


async def test_a_model_that_the_service_does_not_know_stops_the_run(start_standin: StartStandin) -> None:
    """The service's own 404, not a scripted one."""
    async with rig(start_standin().url) as it:
        with pytest.raises(RunStoppedError, match="unknown model"):
            await it.ask(model="claude-nonesuch-9")
        assert len(it.at_rest()) == 1


@pytest.mark.parametrize("fault", ["413", "edge_413", "400:code=image_dimensions_too_large"])
async def test_what_is_too_large_says_so_by_its_class(fault: str, start_standin: StartStandin) -> None:
    """A request that is to be shrunk is not sent again as it is; who holds the image can tell it from a refusal."""
    async with rig(start_standin(fault).url) as it:
        with pytest.raises(RequestTooLargeError) as caught:
            await it.ask()
        assert len(it.at_rest()) == 1
    assert (caught.value.retryable, caught.value.attempts) == (False, 1)


async def test_a_bad_request_fails_the_item_for_good(start_standin: StartStandin) -> None:
    """A 400 is not tried again, in this run or the next, and is no matter of size."""
    async with rig(start_standin("400").url) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        assert len(it.at_rest()) == 1
    assert not isinstance(caught.value, RequestTooLargeError)
    assert (caught.value.error_type, caught.value.retryable) == ("invalid_request_error", False)


@pytest.mark.parametrize("fault", ["html", "empty", "garbled", "wrong_types", "huge_usage"])
async def test_an_answer_that_cannot_be_read_is_kept_and_counts_as_paid(
    fault: str, start_standin: StartStandin
) -> None:
    """Unreadable is not unpaid: one attempt, the raw bytes kept under the request's id, the worst price set aside."""
    server = start_standin(fault)
    async with rig(server.url) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        [attempt] = it.at_rest()
    error = caught.value
    assert (error.error_type, error.retryable, error.http_status, error.attempts) == ("bad_response", False, 200, 1)
    assert (attempt.error_type, attempt.usage, attempt.cost_usd) == ("bad_response", None, None)
    [line] = answers(server.options.log)
    assert list(it.recorder.unreadable) == [line["request_id"]] == [error.request_id]
    assert it.pacer.budget.spent_usd == pytest.approx(WORST_USD)


async def test_an_unreadable_answer_that_cannot_be_kept_is_recorded_all_the_same(start_standin: StartStandin) -> None:
    """A full disk while the bytes are kept ends the run, but not before the attempt is written down."""
    async with rig(start_standin("garbled").url) as it:
        it.recorder.unkept = True
        with pytest.raises(OSError, match="no space"):
            await it.ask()
        [attempt] = it.at_rest()
    assert attempt.error_type == "bad_response"


async def test_an_answer_without_usage_is_kept_and_counts_as_the_worst(start_standin: StartStandin) -> None:
    """The caption is not thrown away; the budget takes no chance."""
    async with rig(start_standin("no_usage").url) as it:
        answered = await it.ask()
        [attempt] = it.at_rest()
    assert "no_usage" in answered.answer.warnings
    assert answered.answer.text
    assert attempt.answer is not None
    assert it.pacer.budget.spent_usd == pytest.approx(WORST_USD)


async def test_a_refusal_without_content_costs_nothing(start_standin: StartStandin) -> None:
    """The row of an unbilled refusal has no tokens and no cost."""
    server = start_standin("refusal")
    async with rig(server.url) as it:
        answered = await it.ask()
        [attempt] = it.at_rest()
    assert answered.answer.refusal == "general_harms: scripted"
    assert (attempt.usage, attempt.cost_usd, answered.cost_usd) == (Usage(), 0.0, 0.0)
    assert billed(server.options.log) == []


async def test_unknown_blocks_and_stop_reasons_are_answers(start_standin: StartStandin) -> None:
    """The open-ended wire costs a flag and no retry."""
    async with rig(start_standin("unknown_block").url) as it:
        answered = await it.ask()
        assert len(it.at_rest()) == 1
    assert answered.answer.text == "after a hologram"
    assert answered.answer.warnings == ("unknown_block:hologram", "unknown_stop_reason:bored")


async def test_cancelled_in_flight_it_is_recorded_as_possible_spend() -> None:
    """A second signal while the answer is awaited: one row without an answer, and nothing left reserved."""
    heard = threading.Event()

    def serve(connection: Connection) -> None:
        connection.request()
        heard.set()
        connection.request()

    with RawServer(serve) as server:
        async with rig(server.url) as it:
            async with anyio.create_task_group() as group:
                group.start_soon(it.ask)
                await to_thread.run_sync(heard.wait, 30)
                group.cancel_scope.cancel()
            [attempt] = it.at_rest()
    assert (attempt.http_status, attempt.error_type, attempt.usage) == (None, "connection_error", None)
    assert it.pacer.budget.spent_usd == pytest.approx(WORST_USD)


async def test_an_answer_that_arrived_is_recorded_though_the_run_is_cancelled(start_standin: StartStandin) -> None:
    """Cancellation waits for the record of what is paid for."""
    async with rig(start_standin().url) as it:
        it.recorder.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(it.ask)
            await it.recorder.reached.wait()
            group.cancel_scope.cancel()
            it.recorder.gate.set()
        [attempt] = it.at_rest()
    assert attempt.http_status == 200
    assert attempt.answer is not None


async def test_a_request_that_cannot_be_noted_is_not_sent(start_standin: StartStandin) -> None:
    """Where the journal fails before the request leaves, the service hears nothing and the permit is given back."""
    server = start_standin()
    async with rig(server.url) as it:
        it.recorder.full_disk = True
        with pytest.raises(OutputError):
            await it.ask()
        assert it.at_rest() == []
    assert answers(server.options.log) == []


async def test_no_retry_is_sent_once_the_run_drains(start_standin: StartStandin) -> None:
    """A long `retry-after` does not hold up the end: the wait is cut short, and the item stays open."""
    async with rig(start_standin("429:retry_after=3000").url) as it:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(PacerClosedError):
                    await it.ask()

            group.start_soon(ask)
            await it.recorder.reached.wait()
            assert it.pacer.statistics().paused_s > 2900
            it.pacer.close()
        assert len(it.at_rest()) == 1


async def test_a_budget_without_room_sends_nothing(start_standin: StartStandin) -> None:
    """A request that could cost more than is left never leaves."""
    server = start_standin()
    async with rig(server.url) as it:
        it.pacer.budget.spent_usd = 0.995
        with pytest.raises(BudgetReachedError):
            await it.ask()
        assert it.at_rest() == []
    assert answers(server.options.log) == []


async def test_attempts_go_on_from_those_before(start_standin: StartStandin) -> None:
    """A turn that is asked again numbers its attempts on, and an error counts only the new ones."""
    async with rig(start_standin("529:first=3").url, retry={"max_attempts": 3}) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask(before=5)
        assert (await it.ask(before=8)).attempts == 9
        assert [attempt.attempt for attempt in it.at_rest()] == [6, 7, 8, 9]
    assert caught.value.attempts == 3


@pytest.mark.parametrize("status", ["401 No", "400 No", "200 OK"])
async def test_a_key_that_the_service_repeats_reaches_no_error_and_no_row(status: str) -> None:
    """Neither the message nor the request id nor the kept bytes hold it."""
    body = f'{{"error": {{"type": "x", "message": "the key {KEY} is bad"}}}}'.encode()
    with RawServer(replies(response(body, status, {"request-id": f"req_{KEY}"}))) as server:
        async with rig(server.url) as it:
            with pytest.raises((AnswerError, RunStoppedError)) as caught:
                await it.ask()
            shown = repr((str(caught.value), it.at_rest(), it.recorder.unreadable))
    assert KEY not in shown
    assert "***" in shown


async def test_a_bad_certificate_stops_the_run_at_no_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-signed server is told nothing; the attempt has its row, and the breaker is not bothered."""
    monkeypatch.setenv("SSL_CERT_FILE", str(make_authority(tmp_path)))
    with RawServer(replies(response(b"{}")), server_context("self_signed")) as server:
        async with rig(server.url) as it:
            with pytest.raises(RunStoppedError, match="certificate"):
                await it.ask()
            [attempt] = it.at_rest()
    assert (attempt.error_type, attempt.http_status) == ("connection_error", None)
    assert it.pacer.budget.spent_usd == 0
    assert server.requests == []


async def test_many_turns_at_once_lose_nothing(start_standin: StartStandin) -> None:
    """Forty turns under mixed faults: each is answered, every row has its end, and the bill is the service's."""
    server = start_standin("529:every=5", "reset:every=7", "429:every=11,retry_after=0")
    async with rig(server.url, retry={"max_attempts": 12}) as it:
        done: list[Answered] = []

        async def ask(number: int) -> None:
            async with it.pacer.place():
                done.append(await it.ask(f"Describe wave {number}."))

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, number)
        attempts = it.at_rest()
    assert len(done) == 40
    assert sum(attempt.cost_usd or 0.0 for attempt in attempts) == pytest.approx(
        sum(line["cost_usd"] for line in billed(server.options.log))
    )
    assert len([attempt for attempt in attempts if attempt.http_status == 200]) == 40


async def test_endpoints_are_asked_with_their_own_keys(start_standin: StartStandin) -> None:
    """Two servers that each take one key alone answer everything between them."""
    servers = [start_standin(keys=frozenset({f"{KEY}-{number}"})) for number in range(2)]
    async with rig_of_two([server.url for server in servers]) as it:
        for number in range(8):
            await it.ask(f"Describe wave {number}.")
        assert len(it.at_rest()) == 8
    assert [len(billed(server.options.log)) for server in servers] == [4, 4]


@pytest.mark.parametrize("fault", ["401", "402", "403", "404", "spend_stop"])
async def test_an_endpoint_that_refuses_for_good_leaves_its_work_to_the_other(
    fault: str, start_standin: StartStandin
) -> None:
    """One refusal, no item lost, no attempt counted, and nothing more to that one; with the last one the run stops."""
    bad, good = start_standin(fault), start_standin()
    async with rig_of_two([bad.url, good.url]) as it:
        for number in range(6):
            await it.ask(f"Describe wave {number}.")
        assert len(it.at_rest()) == 7
    assert (len(answers(bad.options.log)), len(billed(good.options.log))) == (1, 6)
    async with rig_of_two([bad.url, bad.url]) as it:
        with pytest.raises(RunStoppedError):
            await it.ask()
        assert it.pacer.closed
        assert len(it.at_rest()) == 2


async def test_what_no_retry_can_mend_closes_the_way_for_all_at_once(start_standin: StartStandin) -> None:
    """Nobody slips through between the refusal and the run's end: at most what was in flight is refused too."""
    server = start_standin("spend_stop:after=1", latency_s=(0.05, 0.05))
    async with rig(server.url) as it:
        await it.ask()
        stopped: list[Exception] = []

        async def ask(number: int) -> None:
            try:
                async with it.pacer.place():
                    await it.ask(f"Describe wave {number}.")
            except (RunStoppedError, PacerClosedError) as error:
                stopped.append(error)

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, number)
        assert len(stopped) == 40
        assert any(isinstance(error, RunStoppedError) for error in stopped)
        it.at_rest()
    assert len(answers(server.options.log)) <= 1 + 4


async def test_an_outage_costs_an_item_no_more_than_its_attempts(start_standin: StartStandin) -> None:
    """Probes are attempts of their item: it fails after `retry.max_attempts`, as one that the next run takes up."""
    server = start_standin("529:first=10")
    async with rig(server.url, retry={"max_attempts": 10}) as it:
        with pytest.raises(AnswerError) as caught:
            await it.ask()
        assert (caught.value.attempts, caught.value.retryable) == (10, True)
        assert (await it.ask()).attempts == 1
        assert [attempt.http_status for attempt in it.at_rest()] == [529] * 10 + [200]


async def test_a_404_to_a_request_that_names_files_may_be_about_one_of_them(start_standin: StartStandin) -> None:
    """It costs the item an attempt and not the run; for every other request it stops the run."""
    server = start_standin("404")
    async with rig(server.url) as one:
        body = BodyWriter({"model": MODEL, "max_tokens": 100}).body([Message("user", ("x",))])
        need = Need(0, 1, 100, WORST_USD)
        with pytest.raises(FileGoneError) as gone:
            await one.client.ask(Question("item-1", 1, body, need, names_files=True))
        assert (gone.value.attempts, gone.value.http_status) == (1, 404)
        with pytest.raises(RunStoppedError):
            await one.client.ask(Question("item-1", 1, body, need, 1))
