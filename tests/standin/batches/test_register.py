"""Batches over time: ended by a clock that is moved, held, canceled, expired, archived, deleted, queued."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batching import call, create, created, ended, item, lines_of, read_results

from pipeline.standin.batches.batch import COUNTS, AskedWith, Batch
from pipeline.standin.batches.outcomes import Outcome
from pipeline.standin.batches.register import Register
from pipeline.standin.batches.spool import Spool
from pipeline.standin.log import AnswerLog
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem

DAY = 86_400.0
TEN = [item(f"i-{number}") for number in range(10)]


def counts(told: dict[str, Any]) -> tuple[int, ...]:
    """Processing, succeeded, errored, canceled, expired."""
    return tuple(told["request_counts"][name] for name in ("processing", "succeeded", "errored", "canceled", "expired"))


def look(server: Any, batch_id: str) -> dict[str, Any]:
    """What is told of a batch now."""
    told: dict[str, Any] = call(server, "GET", f"/{batch_id}").json()
    return told


def test_a_batch_ends_when_the_clock_has_moved_so_far(start_standin: Any) -> None:
    """Not before; until then all counts stand still and there are no results."""
    server = start_standin(batch_s=(3600, 3600))
    batch_id = created(server, *TEN)
    server.service.batches.advance(3000)
    assert (look(server, batch_id)["processing_status"], counts(look(server, batch_id))) == (
        "in_progress",
        (10, 0, 0, 0, 0),
    )
    assert call(server, "GET", f"/{batch_id}/results").status_code == 404
    assert lines_of(server.options.log, "batch_result") == []
    server.service.batches.advance(600)
    told = ended(server, batch_id)
    assert counts(told) == (0, 10, 0, 0, 0)
    took = datetime.fromisoformat(told["ended_at"]) - datetime.fromisoformat(told["created_at"])
    assert timedelta(seconds=3600) <= took < timedelta(seconds=3660)


def test_batches_end_in_the_order_of_their_own_times(start_standin: Any) -> None:
    """A later one may end first."""
    server = start_standin(batch_s=(0, 1000))
    ids = [created(server) for _ in range(3)]
    takes = [server.service.batches.get(batch_id).takes_s for batch_id in ids]
    assert takes != sorted(takes)
    server.service.batches.advance(min(takes) + 10)
    ended(server, ids[takes.index(min(takes))])
    assert look(server, ids[takes.index(max(takes))])["processing_status"] == "in_progress"


def test_a_canceled_batch_keeps_what_was_finished(start_standin: Any) -> None:
    """Canceling first, ended in its own time; a half that succeeded is billed, the rest is canceled and free."""
    server = start_standin(batch_s=(1000, 1000), batch_cancel_s=60)
    batch_id = created(server, *TEN)
    server.service.batches.advance(500)
    told = call(server, "POST", f"/{batch_id}/cancel").json()
    assert (told["processing_status"], counts(told)) == ("canceling", (10, 0, 0, 0, 0))
    assert told["cancel_initiated_at"] is not None
    again = call(server, "POST", f"/{batch_id}/cancel").json()
    assert again["cancel_initiated_at"] == told["cancel_initiated_at"]
    assert look(server, batch_id)["processing_status"] == "canceling"
    server.service.batches.advance(60)
    assert counts(ended(server, batch_id)) == (0, 5, 0, 5, 0)
    results = read_results(server, batch_id)
    assert sum(result == {"type": "canceled"} for result in results.values()) == 5
    assert sum(line["billed"] for line in lines_of(server.options.log, "batch_result")) == 5


def test_a_cancellation_is_told_as_canceling_however_fast_it_is(start_standin: Any) -> None:
    """The answer never says ended; the next poll may."""
    server = start_standin(batch_hold=True)
    for _ in range(5):
        batch_id = created(server)
        assert call(server, "POST", f"/{batch_id}/cancel").json()["processing_status"] == "canceling"
        assert counts(ended(server, batch_id)) == (0, 0, 0, 3, 0)


def test_an_ended_batch_cannot_be_canceled(start_standin: Any) -> None:
    """400, and nothing changes."""
    server = start_standin()
    batch_id = created(server)
    told = ended(server, batch_id)
    assert call(server, "POST", f"/{batch_id}/cancel").status_code == 400
    assert look(server, batch_id) == told


def test_a_batch_expires_after_a_day(start_standin: Any) -> None:
    """What was finished by then is kept."""
    server = start_standin(batch_s=(4 * DAY, 4 * DAY))
    batch_id = created(server, *TEN, item("i-10"), item("i-11"))
    server.service.batches.advance(DAY - 60)
    assert look(server, batch_id)["processing_status"] == "in_progress"
    server.service.batches.advance(60)
    told = ended(server, batch_id)
    assert counts(told) == (0, 3, 0, 0, 9)
    assert datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(told["created_at"]) == timedelta(days=1)
    assert sum(result == {"type": "expired"} for result in read_results(server, batch_id).values()) == 9


def test_held_batches_wait_for_their_release(start_standin: Any) -> None:
    """One alone, or all, those to come too."""
    server = start_standin()
    batches = server.service.batches
    batches.hold(True)
    first, second = created(server), created(server)
    batches.advance(3600)
    batches.hold(False, first)
    assert counts(ended(server, first)) == (0, 3, 0, 0, 0)
    assert look(server, second)["processing_status"] == "in_progress"
    batches.hold(False)
    assert counts(ended(server, second)) == (0, 3, 0, 0, 0)
    ended(server, created(server))


def test_a_held_batch_expires_with_nothing_done(start_standin: Any) -> None:
    """As on a day when the service had no room."""
    server = start_standin(batch_hold=True)
    batch_id = created(server)
    server.service.batches.advance(DAY)
    assert counts(ended(server, batch_id)) == (0, 0, 0, 0, 3)


def test_results_go_after_29_days_and_the_record_stays(start_standin: Any) -> None:
    """The results are 404 then, and their address is gone."""
    server = start_standin()
    batch_id = created(server)
    ended(server, batch_id)
    server.service.batches.advance(29 * DAY - 60)
    assert len(read_results(server, batch_id)) == 3
    server.service.batches.advance(60)
    told = look(server, batch_id)
    assert (told["processing_status"], told["results_url"], counts(told)) == ("ended", None, (0, 3, 0, 0, 0))
    assert told["archived_at"] is not None
    assert call(server, "GET", f"/{batch_id}/results").status_code == 404


def test_a_batch_is_deleted_only_once_it_has_ended(start_standin: Any) -> None:
    """Then nothing of it is found."""
    server = start_standin(batch_hold=True)
    batch_id = created(server)
    assert call(server, "DELETE", f"/{batch_id}").status_code == 400
    server.service.batches.hold(False)
    ended(server, batch_id)
    assert call(server, "DELETE", f"/{batch_id}").json() == {"id": batch_id, "type": "message_batch_deleted"}
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results")]:
        assert call(server, method, f"/{batch_id}{path}").status_code == 404
    assert call(server, "GET").json()["data"] == []


def test_a_full_queue_refuses_until_a_batch_has_ended(start_standin: Any) -> None:
    """Requests are counted, not batches; the refused one was not created."""
    server = start_standin(batch_queue=8, batch_hold=True)
    first = created(server)
    created(server)
    refused = create(server)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    created(server, item("a"), item("b"))
    assert len(call(server, "GET").json()["data"]) == 3
    server.service.batches.hold(False, first)
    ended(server, first)
    created(server)
    assert len(lines_of(server.options.log, "batch_created")) == 4


def test_the_wait_of_a_full_queue_is_until_the_first_batch_is_due(start_standin: Any) -> None:
    """Where that is soon."""
    server = start_standin(batch_queue=3, batch_s=(20, 20))
    created(server)
    assert 15 <= int(create(server).headers["retry-after"]) <= 21


def test_counts_add_up(start_standin: Any) -> None:
    """Over all batches, by what became of their requests."""
    server = start_standin("item/529:at=1", "item/expired:at=2", "item/refusal:at=3")
    for _ in range(2):
        ended(server, created(server))
    expected = {"created": 2, "items": 6, "succeeded": 4, "errored": 1, "canceled": 0, "expired": 1, "billed": 3}
    assert server.service.batches.counts == expected


def test_a_server_ends_with_batches_open(start_standin: Any) -> None:
    """Whatever their state, and twice is no fault."""
    server = start_standin(batch_s=(100, 100))
    created(server)
    server.service.batches.close()
    server.service.batches.close()


def test_seconds_that_go_back_are_refused(start_standin: Any) -> None:
    """The clock is as before."""
    batches = start_standin().service.batches
    with pytest.raises(ValueError, match="allowed"):
        batches.advance(-1)


class Echo:
    """Answers every request alike."""

    def outcome(self, batch: Batch, at: int) -> Outcome:
        """Succeeded, for the name that the request has."""
        name = json.loads(batch.items.read(at))["custom_id"]
        return Outcome("succeeded", f"{name} {{}}\n".encode(), {"custom_id": name, "billed": True})


@contextmanager
def register(**options: Any) -> Iterator[Register]:
    """A register without a server."""
    found = Register(StandinOptions(**options), AnswerLog(None), Echo())  # type: ignore[arg-type]
    try:
        yield found
    finally:
        found.close()


def put(batches: Register, count: int) -> str:
    """The id of a new batch of so many requests."""
    spool = Spool()
    for number in range(count):
        spool.append(json.dumps({"custom_id": f"i-{number}"}).encode())
    spool.seal()
    batch = batches.reserve(spool, AskedWith("2023-06-01", ""))
    batches.add(batch)
    return batch.id


def waited(batches: Register, batch_id: str) -> Batch:
    """The batch, once it has ended."""
    until = monotonic() + 20
    while monotonic() < until:
        batch = batches.get(batch_id)
        if batch.ended is not None:
            return batch
        sleep(0)
    raise AssertionError(f"{batch_id} did not end")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["cancel", "hold", "release", "delete"]), st.integers(0, 9)),
        st.tuples(st.just("advance"), st.sampled_from([0, 30, 1000, 40_000])),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_is_done_every_request_has_one_result_in_the_end(steps: list[tuple[str, int]]) -> None:
    """Batches go from open to ended and never back; results are whole; the counts are those of all batches."""
    with register(batch_s=(0, 3000), batch_cancel_s=20) as batches:
        sizes, ended_at, moment = dict[str, int](), dict[str, float](), batches.clock()
        for word, number in [*steps, ("advance", DAY), ("release", -1)]:
            known = list(sizes)
            with suppress(Problem):
                if word == "create":
                    sizes[put(batches, number)] = number
                elif word == "advance":
                    batches.advance(number)
                elif word in ("hold", "release"):
                    batches.hold(word == "hold", known[number] if 0 <= number < len(known) else None)
                elif number < len(known):
                    getattr(batches, word)(known[number], *(["http://host"] if word == "cancel" else []))
                    sizes.pop(known[number]) if word == "delete" else None
            assert moment <= (moment := batches.clock())
            for batch in batches.newest_first():
                assert ended_at.setdefault(batch.id, batch.ended or 0.0) in (0.0, batch.ended)
                ended_at[batch.id] = batch.ended or 0.0
        assert [batch.id for batch in batches.newest_first()] == list(sizes)[::-1]
        for batch_id, size in sizes.items():
            batch = waited(batches, batch_id)
            told = batches.told(batch, "http://host")["request_counts"]
            assert (told.pop("processing"), sum(told.values())) == (0, size)
            reading = batches.results(batch_id)
            names = sorted(reading.results.read(at).partition(b" ")[0].decode() for at in reading.order)
            assert names == sorted(f"i-{at}" for at in range(size))
        settled = sum(batches.counts[name] for name in COUNTS)
        assert (settled, batches.counts["billed"]) == (batches.counts["items"], batches.counts["succeeded"])


def test_a_batch_that_was_reserved_is_seen_once_it_is_added() -> None:
    """Its creation can be written down before anybody knows of it."""
    with register() as batches:
        spool = Spool()
        batch = batches.reserve(spool, AskedWith("2023-06-01", ""))
        assert batches.newest_first() == []
        with pytest.raises(Problem, match="Batch not found"):
            batches.get(batch.id)
        batches.add(batch)
        assert waited(batches, batch.id) is batch


def test_requests_are_numbered_over_all_batches() -> None:
    """So that a fault can be for the tenth request of a server, in whatever batch it comes."""
    with register(batch_hold=True) as batches:
        found = [batches.get(put(batches, count)) for count in (3, 1, 5)]
    assert [(batch.number, batch.first_item) for batch in found] == [(1, 1), (2, 4), (3, 5)]


def test_batches_take_times_between_the_bounds_the_same_on_every_server() -> None:
    """Spread, so that they end in another order than they were created in."""

    def times() -> list[float]:
        with register(batch_hold=True, batch_s=(10, 20)) as batches:
            return [batches.get(put(batches, 1)).takes_s for _ in range(6)]

    assert times() == times()
    assert len(set(times())) == 6
    assert 10 <= min(times()) < max(times()) <= 20
    assert times() != sorted(times())


def test_closing_gives_back_what_open_and_ended_batches_keep() -> None:
    """Nothing on disk outlives the register."""
    with register() as batches:
        ended_one = waited(batches, put(batches, 2))
        batches.hold(True)
        open_one = batches.get(put(batches, 2))
    assert ended_one.results is not None
    for spool in (ended_one.results, open_one.items):
        with pytest.raises(ValueError, match="closed"):
            spool.read(0)
