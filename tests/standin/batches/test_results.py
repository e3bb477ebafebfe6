"""Results on their way: order, cuts, delays, and what the log calls delivered."""

import json
from typing import Any

import httpx
import pytest
from support.asking import HEADERS
from support.batching import call, created, ended, item, lines_of, result_lines

NAMES = [f"i-{number}" for number in range(12)]


@pytest.fixture
def batch(start_standin: Any) -> Any:
    """A function that has a batch of twelve ended on a server with these faults: the server and its id."""

    def made(*faults: str) -> tuple[Any, str]:
        server = start_standin(*faults)
        batch_id = created(server, *map(item, NAMES))
        ended(server, batch_id)
        return server, batch_id

    return made


def names(lines: list[str]) -> list[str]:
    """Whose results these are."""
    return [json.loads(line)["custom_id"] for line in lines]


def partly(server: Any, batch_id: str) -> tuple[bytes, bool]:
    """What arrives of the results, and whether that ends as it should."""
    url, found = f"{server.url}/v1/messages/batches/{batch_id}/results", b""
    try:
        with httpx.stream("GET", url, headers=HEADERS, verify=False, timeout=10) as answer:
            for chunk in answer.iter_raw():
                found += chunk
    except httpx.TransportError:
        return found, False
    return found, True


def test_results_come_in_another_order_each_time(batch: Any) -> None:
    """Never that of the requests, and nobody can go on by counting lines."""
    server, batch_id = batch()
    orders = [names(result_lines(server, batch_id)) for _ in range(3)]
    assert all(sorted(order) == sorted(NAMES) for order in orders)
    assert len({tuple(order) for order in [*orders, NAMES]}) == 4


def test_they_are_json_lines_that_are_streamed(batch: Any) -> None:
    """Without a length that is known before."""
    server, batch_id = batch()
    answer = call(server, "GET", f"/{batch_id}/results")
    assert answer.headers["content-type"].startswith("application/x-jsonl")
    assert "content-length" not in answer.headers
    assert answer.text.endswith("}\n")
    assert answer.headers["request-id"]


def test_every_line_that_was_handed_over_is_in_the_log(batch: Any) -> None:
    """Under the id of the call that read it, once a reading."""
    server, batch_id = batch()
    ids = [call(server, "GET", f"/{batch_id}/results").headers["request-id"] for _ in range(2)]
    for request_id in ids:
        lines = lines_of(server.options.log, "batch_delivered", request_id=request_id, batch_id=batch_id)
        assert sorted(line["custom_id"] for line in lines) == sorted(NAMES)


@pytest.mark.parametrize("fault", ["reset_mid_body", "truncated"])
@pytest.mark.parametrize("where", ["bytes=1500", "part=0.4"])
def test_results_are_cut_in_the_middle_of_a_line(batch: Any, fault: str, where: str) -> None:
    """So often as it was scripted; the log calls delivered what was whole."""
    server, batch_id = batch(f"results/{fault}:{where},first=2")
    for _ in range(2):
        found, is_whole = partly(server, batch_id)
        assert not is_whole
        if fault == "truncated":
            assert 0 < found.count(b"\n") < len(NAMES)
            assert not found.endswith(b"\n")
    if fault == "truncated":
        request_id = lines_of(server.options.log, "batch_call", call="results")[-1]["request_id"]
        delivered = lines_of(server.options.log, "batch_delivered", request_id=request_id)
        assert [line["custom_id"] for line in delivered] == names(found.decode().splitlines()[:-1])
    assert sorted(names(result_lines(server, batch_id))) == sorted(NAMES)


def test_a_cut_behind_the_end_is_none(batch: Any) -> None:
    """All lines arrive, then the connection is closed in order."""
    server, batch_id = batch("results/truncated:bytes=1000000")
    assert len(result_lines(server, batch_id)) == len(NAMES)


@pytest.mark.parametrize("fault", ["reset", "close", "lost_answer"])
def test_nothing_may_come_at_all(batch: Any, fault: str) -> None:
    """And nothing is delivered then."""
    server, batch_id = batch(f"results/{fault}:first=1")
    assert partly(server, batch_id) == (b"", False)
    assert lines_of(server.options.log, "batch_delivered") == []
    assert partly(server, batch_id)[1]


def test_lines_may_drip(batch: Any) -> None:
    """One at a time, all in the end."""
    server, batch_id = batch("results/drip:seconds=0.001")
    assert sorted(names(result_lines(server, batch_id))) == sorted(NAMES)


def test_a_reader_that_leaves_ends_it(batch: Any) -> None:
    """Late results that nobody waits for any more are not delivered, and the server goes on."""
    server, batch_id = batch("results/slow:seconds=30,first=1")
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/v1/messages/batches/{batch_id}/results", headers=HEADERS, timeout=0.1)
    assert len(result_lines(server, batch_id)) == len(NAMES)


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("429:retry_after=1", 429), ("html", 200), ("empty", 200)])
def test_something_else_may_come_instead(batch: Any, fault: str, status: int) -> None:
    """Errors in the API's shape, and pages that no API sends."""
    server, batch_id = batch(f"results/{fault}")
    answer = call(server, "GET", f"/{batch_id}/results")
    assert answer.status_code == status
    assert "custom_id" not in answer.text


def test_many_results_come_in_blocks(start_standin: Any) -> None:
    """More than one block holds arrive whole, and each is logged."""
    server = start_standin()
    many = [f"i{number}" for number in range(600)]
    batch_id = created(server, *map(item, many))
    ended(server, batch_id)
    lines = result_lines(server, batch_id)
    assert sum(map(len, lines)) > 262_144
    assert sorted(names(lines)) == sorted(many)
    assert len(lines_of(server.options.log, "batch_delivered")) == 600
