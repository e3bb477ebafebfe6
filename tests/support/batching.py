"""Requests to a stand-in's batches, written by hand, and its log's account of them."""

import json
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from pipeline.standin.server import StandinServer
from support.asking import HEADERS, message_body
from support.standins import read_log

__all__ = ["call", "create", "created", "ended", "item", "lines_of", "read_results", "result_lines"]


def item(name: str, *content: Any, **changes: Any) -> dict[str, Any]:
    """A request of a batch whose text is its name, unless there is other content."""
    return {"custom_id": name, "params": message_body(*(content or (name,)), **changes)}


def call(server: StandinServer, method: str, path: str = "", **options: Any) -> httpx.Response:
    """One request to the Message Batches API."""
    options.setdefault("headers", HEADERS)
    return httpx.request(method, f"{server.url}/v1/messages/batches{path}", verify=False, timeout=20, **options)


def create(server: StandinServer, *items: Any, **options: Any) -> httpx.Response:
    """Asks for a batch of these requests, by default of three."""
    wanted = items or tuple(item(f"item-{number}") for number in range(3))
    return call(server, "POST", json={"requests": list(wanted)}, **options)


def created(server: StandinServer, *items: Any) -> str:
    """The id of a new batch."""
    answer = create(server, *items)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ended(server: StandinServer, batch_id: str) -> dict[str, Any]:
    """Polls until a batch has ended; what is told of it then."""
    until = monotonic() + 20
    with httpx.Client(verify=False, headers=HEADERS) as client:
        while monotonic() < until:
            told: dict[str, Any] = client.get(f"{server.url}/v1/messages/batches/{batch_id}").json()
            if told["processing_status"] == "ended":
                return told
    raise AssertionError(f"{batch_id} did not end: {told}")


def result_lines(server: StandinServer, batch_id: str) -> list[str]:
    """The lines of a batch's results as they come."""
    answer = call(server, "GET", f"/{batch_id}/results")
    assert answer.status_code == 200, answer.text
    return answer.text.splitlines()


def read_results(server: StandinServer, batch_id: str) -> dict[str, Any]:
    """The results of a batch by the names of its requests; each is there once."""
    ended(server, batch_id)
    lines = [json.loads(line) for line in result_lines(server, batch_id)]
    found = {line["custom_id"]: line["result"] for line in lines}
    assert len(found) == len(lines)
    return found


def lines_of(log: Path, event: str, **wanted: Any) -> list[dict[str, Any]]:
    """The log's lines of an event whose fields are so."""
    found = [line for line in read_log(log) if line["event"] == event]
    return [line for line in found if all(line.get(name) == value for name, value in wanted.items())]
