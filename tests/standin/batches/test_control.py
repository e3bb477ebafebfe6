"""The stand-in's own resources for batches, as another process uses them."""

from typing import Any

import httpx
import pytest
from support.batching import call, created, ended


def post(server: Any, path: str, body: Any) -> httpx.Response:
    """Sets something."""
    return httpx.post(f"{server.url}/_standin/{path}", json=body, verify=False, timeout=20)


def test_another_process_moves_the_clock(start_standin: Any) -> None:
    """A batch of an hour ends at once."""
    server = start_standin(batch_s=(3600, 3600))
    batch_id = created(server)
    assert post(server, "clock", {"advance_s": 3600}).json()["now"]
    assert ended(server, batch_id)["request_counts"]["succeeded"] == 3


def test_another_process_holds_and_releases(start_standin: Any) -> None:
    """All, or one by its id."""
    server = start_standin()
    assert post(server, "batches", {"held": True}).json() == {"held": True}
    first, second = created(server), created(server)
    post(server, "batches", {"held": False, "id": first})
    ended(server, first)
    assert call(server, "GET", f"/{second}").json()["processing_status"] == "in_progress"
    post(server, "batches", {"held": False})
    ended(server, second)
    assert httpx.get(f"{server.url}/_standin/batches", verify=False).json() == server.service.batches.counts


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clock", {}, 400),
        ("clock", {"advance_s": -1}, 400),
        ("clock", {"advance_s": "an hour"}, 400),
        ("batches", {"held": 1}, 400),
        ("batches", [], 400),
        ("batches", {"held": True, "id": "msgbatch_none"}, 404),
    ],
)
def test_a_wrong_wish_is_refused(start_standin: Any, path: str, body: Any, status: int) -> None:
    """It says what is wrong."""
    answer = post(start_standin(), path, body)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


def test_no_json_is_refused(start_standin: Any) -> None:
    """As anywhere."""
    assert httpx.post(f"{start_standin().url}/_standin/clock", content=b"x", verify=False).status_code == 400
