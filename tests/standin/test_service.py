"""Requests to the running service: answers, limits, cache, faults and counts."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.asking import HEADERS, ask, image_block, message_body, picture
from support.standins import answers

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
CACHED = {"type": "text", "text": "s" * 8000, "cache_control": {"type": "ephemeral"}}


def test_every_answer_has_an_id_of_its_own(start_standin: StartStandin) -> None:
    """Good or bad, the header is there, it equals the body's, and no two are the same."""
    server = start_standin()
    good, bad, lost = ask(server), ask(server, {"model": "x"}), httpx.get(f"{server.url}/v2", headers=HEADERS)
    listed = httpx.get(f"{server.url}/v1/models", headers=HEADERS)
    assert bad.json()["request_id"] == bad.headers["request-id"]
    assert lost.json()["request_id"] == lost.headers["request-id"]
    ids = {answer.headers["request-id"] for answer in (good, bad, lost, listed)}
    assert len(ids) == 4
    assert all(each.startswith("req_") for each in ids)


def test_successes_carry_the_limits_and_the_account(start_standin: StartStandin) -> None:
    """All thirteen headers are there, unless the server is to be a self-hosted one."""
    headers = ask(start_standin()).headers
    names = [
        f"anthropic-ratelimit-{kind}-{part}"
        for kind in ("requests", "input-tokens", "output-tokens", "tokens")
        for part in ("limit", "remaining", "reset")
    ]
    assert not [name for name in names if name not in headers]
    assert headers["anthropic-organization-id"]
    assert not [name for name in ask(start_standin(limit_headers=False)).headers if "ratelimit" in name]


def test_a_bad_request_is_not_to_be_repeated(start_standin: StartStandin) -> None:
    """A 400 says so in its header."""
    answer = ask(start_standin(), message_body(model="claude-opus-4-7", temperature=0.2))
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")


def test_a_limit_refuses_with_the_wait_and_other_models_are_not_touched(start_standin: StartStandin) -> None:
    """Models of one group share a bucket, others have their own."""
    server = start_standin(requests_per_minute=2, burst_s=60)
    group = ["claude-sonnet-4-5", "claude-sonnet-4-6"]
    assert [ask(server, message_body(model=name)).status_code for name in group] == [200, 200]
    refused = ask(server, message_body(model="claude-sonnet-4-6"))
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert ask(server, message_body(model="claude-haiku-4-5")).status_code == 200


def test_the_second_request_reads_the_cached_prefix_at_its_price(start_standin: StartStandin) -> None:
    """Usage and the log's bill tell the write and then the read."""
    server = start_standin()
    body = message_body(model="claude-sonnet-5-5", system=[CACHED])
    first, second = ask(server, body).json()["usage"], ask(server, body).json()["usage"]
    assert (first["cache_creation_input_tokens"], first["cache_read_input_tokens"]) == (2000, 0)
    assert (second["cache_creation_input_tokens"], second["cache_read_input_tokens"]) == (0, 2000)
    written, read = [line["cost_usd"] for line in answers(server.options.log)]
    assert written - read == pytest.approx(2000 * (2500 - 100) / 1e9)


def test_parallel_first_requests_all_write_the_cache(start_standin: StartStandin) -> None:
    """Nothing can be read before the first response has begun."""
    server = start_standin(latency_s=(0.3, 0.3))
    body = message_body(model="claude-sonnet-5-5", system=[CACHED])
    with ThreadPoolExecutor(4) as pool:
        usages = [answer.json()["usage"] for answer in pool.map(lambda _: ask(server, body), range(4))]
    assert [usage["cache_creation_input_tokens"] for usage in usages] == [2000] * 4
    assert ask(server, body).json()["usage"]["cache_read_input_tokens"] == 2000


def test_cached_reads_do_not_use_up_the_input_limit(start_standin: StartStandin) -> None:
    """A bucket that holds one write passes any number of reads."""
    server = start_standin(input_tokens_per_minute=2100)
    body = message_body(model="claude-sonnet-5-5", system=[CACHED])
    assert [ask(server, body).status_code for _ in range(4)] == [200] * 4
    assert ask(server, message_body("x" * 4000, model="claude-sonnet-5-5")).status_code == 429


def test_a_count_equals_the_usage_and_leaves_no_trace(start_standin: StartStandin) -> None:
    """Counting is free: it is not logged, not limited, and struck by no fault."""
    server = start_standin("500")
    body = message_body(image_block(picture(300, 200)), "What is it?", max_tokens=None, system="Be brief.")
    counted = httpx.post(f"{server.url}/v1/messages/count_tokens", json=body, headers=HEADERS)
    assert counted.status_code == 200
    server.service.faults = ()
    usage = ask(server, {**body, "max_tokens": 100}).json()["usage"]
    assert counted.json() == {"input_tokens": usage["input_tokens"]}
    assert len(answers(server.options.log)) == 1
    bad = httpx.post(f"{server.url}/v1/messages/count_tokens", json={}, headers=HEADERS)
    assert bad.json()["request_id"] == bad.headers["request-id"]


def test_models_are_listed_and_looked_up(start_standin: StartStandin) -> None:
    """Pages, single models and unknown ones; a key is needed."""
    url = f"{start_standin().url}/v1/models"
    part = httpx.get(url, params={"limit": 3}, headers=HEADERS).json()
    assert (len(part["data"]), part["has_more"]) == (3, True)
    assert httpx.get(f"{url}/claude-haiku-4-5", headers=HEADERS).json()["id"] == "claude-haiku-4-5-20251001"
    assert httpx.get(f"{url}/claude-2", headers=HEADERS).status_code == 404
    assert httpx.get(url, params={"limit": 0}, headers=HEADERS).status_code == 400
    assert httpx.get(url).status_code == 401


def test_the_first_fault_that_strikes_wins(start_standin: StartStandin) -> None:
    """Faults are asked in the order in which they are given."""
    server = start_standin("503:at=2", "429:first=2")
    assert [ask(server).status_code for _ in range(3)] == [429, 503, 200]


def test_a_fault_can_lie_in_wait_for_one_body(start_standin: StartStandin) -> None:
    """Only the request that holds the text is struck."""
    server = start_standin("529:match=unlucky")
    assert [ask(server, message_body(text)).status_code for text in ("lucky day", "unlucky day")] == [200, 529]


def test_latency_is_drawn_from_the_body_and_the_peak_is_counted(start_standin: StartStandin) -> None:
    """Requests overlap while they wait, and afterwards none is in flight."""
    server = start_standin(latency_s=(0.3, 0.4))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: ask(server, message_body(f"question {n}")), range(6)))
    counts = server.service.counts
    assert counts["peak_in_flight"] == 6
    assert (counts["requests"], counts["answered"], counts["billed"], counts["rejected"]) == (6, 6, 6, 0)


def test_refusals_are_counted_apart(start_standin: StartStandin) -> None:
    """What was refused was not answered."""
    server = start_standin("500:at=1")
    ask(server)
    ask(server, {"model": "x"})
    ask(server)
    assert {key: server.service.counts[key] for key in ("requests", "answered", "rejected")} == {
        "requests": 3,
        "answered": 1,
        "rejected": 2,
    }


def test_large_pictures_at_once_do_not_stop_small_requests(start_standin: StartStandin) -> None:
    """While pictures are decoded elsewhere, a text is answered before all of them."""
    server = start_standin()
    large = [message_body(image_block(picture(5000 + 4 * n, 4000, "JPEG"), "image/jpeg")) for n in range(4)]
    done: list[Any] = []
    with ThreadPoolExecutor(5) as pool:
        pending = [pool.submit(ask, server, body) for body in large]
        for number, each in enumerate(pending):
            each.add_done_callback(lambda _, n=number: done.append(n))
        small = pool.submit(ask, server, message_body("hello"))
        small.add_done_callback(lambda _: done.append("small"))
    assert done[-1] != "small"
    assert all(each.result().status_code == 200 for each in [*pending, small])


def test_an_answer_is_the_same_for_the_same_body_but_for_its_ids(start_standin: StartStandin) -> None:
    """Runs can be compared byte by byte once the ids are taken away."""
    server = start_standin()
    first, second = ask(server).json(), ask(server).json()
    assert first.pop("id") != second.pop("id")
    assert json.dumps(first) == json.dumps(second)
