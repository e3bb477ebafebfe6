"""What becomes of the requests of a batch: the same answers as messages, at half the price, and every kind of error."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.asking import HEADERS, ask, image_block, message_body, picture
from support.batching import create, created, ended, item, lines_of, read_results, result_lines
from support.standins import billed

from pipeline.standin.batches.batch import AskedWith, Batch
from pipeline.standin.batches.outcomes import Answerer, Outcome, unfinished
from pipeline.standin.batches.spool import Spool
from pipeline.standin.caching import PromptCache
from pipeline.standin.faults import parse_fault
from pipeline.standin.looking import LOOK_HEADER, Looker, can_look
from pipeline.standin.models import find_model
from pipeline.standin.striking import Strikes
from pipeline.standin.vision import no_files

COFFEE = (Path(__file__).parents[3] / "data" / "photos" / "things" / "coffee.png").read_bytes()
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


class Bench:
    """An answerer with a cache of its own, and batches for it."""

    def __init__(self, *faults: str) -> None:
        self.looker = Looker(no_files, always=False)
        cache = PromptCache(lambda: 0.0)
        struck = tuple(parse_fault(fault) for fault in faults)
        self.answerer = Answerer(5_000_000, no_files, self.looker, cache, Strikes(lambda: struck))

    def outcomes(self, *items: Any) -> list[Outcome]:
        """What becomes of the requests of a batch, in their order."""
        spool = Spool()
        for each in items:
            spool.append(json.dumps(each).encode())
        spool.seal()
        asked = AskedWith("2023-06-01", "")
        batch = Batch("msgbatch_1", 1, 1, 0, asked, 0.0, 0.0, 0.0, spool, len(items))
        try:
            return [self.answerer.outcome(batch, at) for at in range(len(items))]
        finally:
            batch.close()
            self.looker.close()


def marked(words: int, ttl: str) -> list[dict[str, Any]]:
    """A system prompt of so many words that is to be cached."""
    return [{"type": "text", "text": "word " * words, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-4-6"]),
    st.lists(st.tuples(st.sampled_from([0, 3, 9000]), st.sampled_from(["5m", "1h"]), st.integers(1, 99)), max_size=12),
)
def test_every_bill_is_half_of_the_price_of_what_it_says_was_used(model: str, asked: list[Any]) -> None:
    """Input, output, and the cache written and read, each at its own rate; the price is that of the model."""
    facts = find_model(model)
    assert facts is not None
    items = [
        item(
            f"i{at}",
            "Hello. " * most,
            model=model,
            max_tokens=most,
            **({"system": marked(words, ttl)} if words else {}),
        )
        for at, (words, ttl, most) in enumerate(asked)
    ]
    for each in Bench().outcomes(*items):
        usage = json.loads(each.record.partition(b" ")[2])["result"]["message"]["usage"]
        written = usage["cache_creation"]
        nano = usage["input_tokens"] * facts.input_nano + usage["output_tokens"] * facts.output_nano
        nano += usage["cache_read_input_tokens"] * facts.read_nano
        nano += written["ephemeral_5m_input_tokens"] * facts.input_nano * Fraction(5, 4)
        nano += written["ephemeral_1h_input_tokens"] * facts.input_nano * 2
        assert each.said["cost_usd"] == pytest.approx(float(nano / 2 / 10**9), rel=1e-9, abs=1e-9)
        assert (each.kind, each.said["billed"], usage["service_tier"]) == ("succeeded", True, "batch")


def test_neighbours_write_a_cold_cache_and_those_behind_them_read_it() -> None:
    """Requests of a batch run side by side, eight at once."""
    outcomes = Bench().outcomes(*(item(f"i{at}", system=marked(9000, "1h")) for at in range(12)))
    read = [each.said["cache_read_input_tokens"] > 0 for each in outcomes]
    written = [each.said["cache_creation_input_tokens"] > 0 for each in outcomes]
    assert read == [False] * 8 + [True] * 4
    assert written == [not each for each in read]


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "max_tokens", "system", "x"]),
        st.none() | st.text() | st.lists(st.integers()),
    )
)
def test_any_params_have_a_result_and_only_messages_are_billed(params: dict[str, Any]) -> None:
    """A line for the request's own name, whatever it held, and the log's account says the same."""
    good, bad = Bench().outcomes(item("good"), {"custom_id": "bad", "params": params})
    assert (good.kind, good.said["billed"], good.said["fault"]) == ("succeeded", True, None)
    name, line = bad.record.split(b" ", 1)
    assert (name, bad.kind, bad.said["result"], bad.said["billed"], bad.said["cost_usd"]) == (
        *(b"bad", "errored", "errored", False),
        0.0,
    )
    kind, _ = failure(json.loads(line)["result"])
    assert kind in ("invalid_request_error", "not_found_error")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("item/529:at=2", "errored"), ("item/expired:at=2", "expired"), ("item/canceled:at=2", "canceled")],
)
def test_what_was_struck_is_free_and_says_by_what(fault: str, kind: str) -> None:
    """Its neighbours know nothing of it."""
    first, second, third = Bench(fault).outcomes(item("a"), item("b"), item("c"))
    assert [first.kind, second.kind, third.kind] == ["succeeded", kind, "succeeded"]
    assert (second.said["cost_usd"], second.said["billed"]) == (0.0, False)
    assert second.said["fault"] == fault.partition(":")[0]


@pytest.mark.parametrize("kind", ["canceled", "expired"])
def test_what_was_never_begun_is_a_line_of_its_own(kind: str) -> None:
    """Free, and whole as it stands in the results."""
    found = unfinished("a-1", kind)
    assert found.record == b'a-1 {"custom_id": "a-1", "result": {"type": "%s"}}\n' % kind.encode()
    assert (found.said["billed"], found.said["cost_usd"], found.said["custom_id"]) == (False, 0.0, "a-1")
