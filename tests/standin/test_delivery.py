"""Deliveries: what the log may call delivered, and what an abandoned answer leaves behind."""

import contextlib
from collections.abc import Callable

import httpx
import pytest
from support.asking import HEADERS, ask, message_body, settled
from support.standins import answers, read_log

from pipeline.standin.delivery import Delivery
from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]


def delivered(server: StandinServer) -> list[str]:
    """The ids of what was delivered."""
    return [line["request_id"] for line in read_log(server.options.log) if line["event"] == "delivered"]


def test_an_ordinary_delivery_is_the_message_itself() -> None:
    """By default nothing is late, cut or changed."""
    plain = Delivery()
    assert (plain.body, plain.part, plain.ending, plain.status, dict(plain.change)) == (None, 1.0, "keep", 200, {})


def test_a_whole_answer_is_logged_as_delivered(start_standin: StartStandin) -> None:
    """Its line follows that of the answer, under the same id."""
    server = start_standin()
    identity = ask(server).headers["request-id"]
    assert settled(server)
    assert delivered(server) == [identity]


@pytest.mark.parametrize("fault", ["slow:seconds=30", "drip:seconds=30", "black_hole", "endless"])
def test_an_answer_that_the_client_gave_up_is_billed_and_not_delivered(start_standin: StartStandin, fault: str) -> None:
    """A client that leaves frees the server at once, and the log does not claim that it got anything."""
    server = start_standin(fault)
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream("POST", f"{server.url}/v1/messages", json=message_body(), headers=HEADERS, timeout=0.2) as answer,
    ):
        next(answer.iter_bytes())
    assert settled(server)
    assert [line["billed"] for line in answers(server.options.log)] == [True]
    assert delivered(server) == []


def test_an_answer_that_is_still_worked_on_when_the_client_leaves_is_billed(start_standin: StartStandin) -> None:
    """The service does the work that it was given, whoever waits for it."""
    server = start_standin(latency_s=(0.4, 0.4))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/messages", json=message_body(), headers=HEADERS, timeout=0.1)
    assert settled(server)
    assert [line["billed"] for line in answers(server.options.log)] == [True]
    assert delivered(server) == []


def test_a_dripped_answer_counts_as_delivered_at_its_last_byte(start_standin: StartStandin) -> None:
    """Slow is not lost."""
    server = start_standin("drip:seconds=0.0001")
    identity = ask(server).headers["request-id"]
    assert settled(server)
    assert delivered(server) == [identity]
