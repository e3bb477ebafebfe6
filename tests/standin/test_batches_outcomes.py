"""What becomes of the requests of a batch: the same answers as messages, at half the price, and every kind of error."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.asking import HEADERS, ask, image_block, message_body, picture
from support.batching import create, created, ended, item, lines_of, read_results, result_lines
from support.standins import billed

from pipeline.standin.looking import LOOK_HEADER, can_look

COFFEE = (Path(__file__).parents[2] / "data" / "photos" / "things" / "coffee.png").read_bytes()
THINKING = {"type": "disabled"}
LONG = [{"type": "text", "text": "Write one sentence. " * 2000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]


def failure(result: Any) -> tuple[str, str]:
    """Type and message of an errored result."""
    assert result["type"] == "errored"
    assert (result["error"]["type"], result["error"]["request_id"]) == ("error", None)
    return result["error"]["error"]["type"], result["error"]["error"]["message"]


def test_a_message_of_a_batch_is_the_message(start_standin: Any) -> None:
    """Same text, same usage but for the tier, and half the price."""
    server = start_standin()
    content = (image_block(picture(300, 200)), "Describe it.")
    single = ask(server, message_body(*content)).json()
    result = read_results(server, created(server, item("a", *content)))["a"]
    assert result["type"] == "succeeded"
    batched = result["message"]
    assert single["usage"].pop("service_tier") == "standard"
    assert batched["usage"].pop("service_tier") == "batch"
    assert batched.pop("id") != single.pop("id")
    assert batched == single
    [line], [paid] = lines_of(server.options.log, "batch_result"), billed(server.options.log)
    assert line["cost_usd"] == paid["cost_usd"] / 2 > 0
    same = ("model", "images", "sizes", "text", "input_tokens", "output_tokens", "caption", "stop_reason", "billed")
    assert [line[name] for name in same] == [paid[name] for name in same]
    assert (line["custom_id"], line["result"], line["message_id"][:4]) == ("a", "succeeded", "msg_")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"stream": True}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"speed": "standard"}, "speed"),
        ({"fallbacks": []}, "fallbacks"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "messages"),
        ({"surprise": 1}, "surprise"),
        ({"model": 7}, "model"),
        ({"thinking": {"type": "adaptive"}}, "adaptive"),
    ],
)
def test_a_mistake_in_params_is_an_errored_result(start_standin: Any, changes: Any, word: str) -> None:
    """The batch is taken, its neighbours are answered, and the mistake is told when all has ended; it is free."""
    server = start_standin()
    answer = create(server, item("bad", **changes), item("good"))
    assert answer.status_code == 200
    results = read_results(server, answer.json()["id"])
    kind, message = failure(results["bad"])
    assert (kind, word in message) == ("invalid_request_error", True)
    assert results["good"]["type"] == "succeeded"
    [line] = lines_of(server.options.log, "batch_result", custom_id="bad")
    assert (line["billed"], line["cost_usd"], line["error_type"]) == (False, 0.0, "invalid_request_error")


def test_an_unknown_model_or_file_is_an_errored_result(start_standin: Any) -> None:
    """Of the kind that a message would be refused with."""
    server = start_standin()
    gone = {"type": "image", "source": {"type": "file", "file_id": "file_none"}}
    results = read_results(server, created(server, item("m", model="claude-0"), item("f", gone, "x")))
    assert {name: failure(result)[0] for name, result in results.items()} == dict.fromkeys("mf", "not_found_error")


def test_files_and_urls_are_seen_as_in_messages(start_standin: Any) -> None:
    """Small params for large pictures: what a batch of 100,000 needs."""
    server = start_standin()
    raw = picture(300, 200)
    upload = httpx.post(f"{server.url}/v1/files", files={"file": ("a.png", raw, "image/png")}, headers=HEADERS)
    blocks = {
        "file": {"type": "image", "source": {"type": "file", "file_id": upload.json()["id"]}},
        "url": {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
    }
    results = read_results(server, created(server, *(item(name, block, "x") for name, block in blocks.items())))
    for name, block in blocks.items():
        single = ask(server, message_body(block, "x")).json()
        assert results[name]["message"]["content"] == single["content"]
        assert results[name]["message"]["usage"]["input_tokens"] == single["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("500", "api_error"),
        ("529", "overloaded_error"),
        ("429", "rate_limit_error"),
        ("504", "timeout_error"),
        ("400", "invalid_request_error"),
    ],
)
def test_a_scripted_status_is_an_errored_result_of_its_kind(start_standin: Any, fault: str, kind: str) -> None:
    """Chosen by number, over all batches of the server; free, and named in the log."""
    server = start_standin(f"item/{fault}:at=4")
    first = read_results(server, created(server))
    second = read_results(server, created(server))
    assert {result["type"] for result in first.values()} == {"succeeded"}
    assert failure(second.pop("item-0"))[0] == kind
    assert {result["type"] for result in second.values()} == {"succeeded"}
    [line] = lines_of(server.options.log, "batch_result", fault=f"item/{fault}")
    assert (line["billed"], line["result"], line["custom_id"]) == (False, "errored", "item-0")


@pytest.mark.parametrize("kind", ["expired", "canceled"])
def test_a_request_can_be_left_unfinished(start_standin: Any, kind: str) -> None:
    """It costs nothing, and its neighbours are answered."""
    server = start_standin(f"item/{kind}:match=item-1")
    batch_id = created(server)
    results = read_results(server, batch_id)
    assert results["item-1"] == {"type": kind}
    counts = {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0, kind: 1}
    assert ended(server, batch_id)["request_counts"] == counts
    [line] = lines_of(server.options.log, "batch_result", result=kind)
    assert line["billed"] is False


def test_shares_of_several_kinds_are_drawn_apart_for_each_attempt(start_standin: Any) -> None:
    """A request that is sent again is drawn again: it does not fail for ever."""
    server = start_standin("item/529:share=0.3", "item/expired:share=0.3")
    names = [f"i-{number}" for number in range(40)]
    rounds = [read_results(server, created(server, *map(item, names))) for _ in range(2)]
    kinds = [[each[name]["type"] for name in names] for each in rounds]
    assert kinds[0] != kinds[1]
    for each in kinds:
        assert set(each) == {"succeeded", "errored", "expired"}


def test_messages_are_changed_as_scripted(start_standin: Any) -> None:
    """A refusal is free and a succeeded result; one that thought only is billed; what is no JSON is billed too."""
    faults = ("refusal:at=1", "thinking_only:at=2", "garbled:at=3")
    server = start_standin(*(f"item/{fault}" for fault in faults))
    batch_id = created(server)
    assert ended(server, batch_id)["request_counts"]["succeeded"] == 3
    lines = {line["custom_id"]: line for line in lines_of(server.options.log, "batch_result")}
    assert [lines[f"item-{n}"]["stop_reason"] for n in range(3)] == ["refusal", "max_tokens", None]
    assert [lines[f"item-{n}"]["billed"] for n in range(3)] == [False, True, True]
    readable = 0
    for line in result_lines(server, batch_id):
        try:
            readable += bool(json.loads(line))
        except ValueError:
            assert line.startswith('{"id": "msg_1"')
    assert readable == 2


def test_a_warmed_cache_is_read_and_neighbours_of_a_cold_one_all_write(start_standin: Any) -> None:
    """As with messages that are sent at once: only what was written before can be read."""
    server = start_standin()
    body = {"system": LONG, "model": "claude-haiku-5-5", "thinking": THINKING}
    cold = read_results(server, created(server, *(item(f"i{n}", **body) for n in range(4))))
    usages = [result["message"]["usage"] for result in cold.values()]
    assert all(usage["cache_creation_input_tokens"] > 5000 for usage in usages)
    single = ask(server, message_body("warm", **{**body, "system": [*LONG, {"type": "text", "text": "more"}]}))
    assert single.json()["usage"]["cache_creation_input_tokens"] > 5000
    warm = read_results(server, created(server, *(item(f"i{n}", **body) for n in range(4))))
    assert all(result["message"]["usage"]["cache_read_input_tokens"] > 5000 for result in warm.values())
    lines = lines_of(server.options.log, "batch_result")
    assert lines[-1]["cost_usd"] < lines[0]["cost_usd"] / 4


def test_a_fault_of_the_server_is_an_errored_result(start_standin: Any) -> None:
    """It must not leave a batch open for ever."""
    server = start_standin()
    server.service.batches._answerer._max_base64 = None
    results = read_results(server, created(server, item("a", image_block(), "x")))
    assert failure(results["a"])[0] == "api_error"
    assert "the stand-in failed" in failure(results["a"])[1]


def test_params_are_judged_by_the_version_of_their_creation(start_standin: Any) -> None:
    """Sampling is gone from the newer one."""
    server = start_standin()
    newer = {"headers": {"x-api-key": "k", "anthropic-version": "2026-10-21"}}
    old = read_results(server, create(server, item("a", temperature=0.5)).json()["id"])
    new = read_results(server, create(server, item("a", temperature=0.5), **newer).json()["id"])
    assert (old["a"]["type"], failure(new["a"])[0]) == ("succeeded", "invalid_request_error")


def test_pictures_are_looked_at_as_in_messages(start_standin: Any) -> None:
    """Where the header of the creation wishes it."""
    server = start_standin()
    content = (image_block(COFFEE), "What is it?")
    headers = {**HEADERS, LOOK_HEADER: "auto"}
    single = ask(server, message_body(*content), headers=headers).json()
    results = read_results(server, create(server, item("a", *content), headers=headers).json()["id"])
    assert results["a"]["message"]["content"] == single["content"]
    plain = read_results(server, created(server, item("a", *content)))
    assert ("likely" in single["content"][0]["text"]) == can_look()
    assert "likely" not in plain["a"]["message"]["content"][0]["text"]
    wrong = read_results(
        server, create(server, item("a", *content), headers={**headers, LOOK_HEADER: "x"}).json()["id"]
    )
    assert failure(wrong["a"])[0] == "invalid_request_error"
