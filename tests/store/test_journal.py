"""The journal: standings, paid turns, flights, runs."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store.journal import Journal, PaidTurn, PendingRow, SettledAs, Standing, item_key
from pipeline.store.schema import Kind

OK = Standing(SettledAs.SUCCEEDED)
BROKEN = Standing(SettledAs.FAILED, "image_corrupt")
AGAIN = Standing(SettledAs.FAILED_RETRYABLE, "timeout")
A, B, C = (item_key(name) for name in "abc")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A new journal."""
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def settle(journal: Journal, key: bytes, standing: Standing, fingerprint: str = "f1") -> None:
    """Settles one item in a transaction of its own."""
    with journal.transaction():
        journal.settle(key, fingerprint, standing)


def test_items_stand_under_each_fingerprint_by_themselves(journal: Journal) -> None:
    """What is settled under one fingerprint is open under another, and unsettled items are left out."""
    settle(journal, A, OK)
    settle(journal, B, BROKEN)
    settle(journal, B, AGAIN, "f2")
    assert journal.standings([A, B, C], "f1") == {A: OK, B: BROKEN}
    assert journal.standings([A, B, C], "f2") == {B: AGAIN}
    assert journal.standings([A], "f3") == {}


def test_more_items_than_one_query_takes_are_all_found(journal: Journal) -> None:
    """Questions about many items are cut into several queries without losing any."""
    keys = [item_key(str(number)) for number in range(1201)]
    with journal.transaction():
        journal.settle_all((key, "f1", OK) for key in keys)
    assert set(journal.standings(keys, "f1")) == set(keys)
    assert journal.answered_otherwise(keys, "f2") == 1201


def test_answered_otherwise_counts_answers_that_a_new_fingerprint_would_pay_again(journal: Journal) -> None:
    """Only items with an answer elsewhere and none here count; failures do not."""
    settle(journal, A, OK, "f1")
    settle(journal, B, OK, "f1")
    settle(journal, B, OK, "f2")
    settle(journal, C, BROKEN, "f1")
    assert journal.answered_otherwise([A, B, C], "f2") == 1
    assert journal.answered_otherwise([A, B, C], "f3") == 2
    assert journal.answered_otherwise([A, B, C], "f1") == 0


def test_a_later_success_replaces_a_failure_and_rebuilding_never_unmakes_it(journal: Journal) -> None:
    """While a run writes the newest word holds; while an index is made anew a success outlasts any failure."""
    settle(journal, A, AGAIN)
    settle(journal, A, OK)
    with journal.transaction():
        journal.settle_all([(A, "f1", BROKEN), (B, "f1", AGAIN), (B, "f1", BROKEN)])
    assert journal.standings([A, B], "f1") == {A: OK, B: BROKEN}


def test_paid_turns_are_kept_in_order_until_their_item_is_settled(journal: Journal) -> None:
    """A resumed item finds its answers by turn and attempt; settling under that fingerprint lets them go."""
    turns = [PaidTurn(2, 1, {"n": 3}, b"c"), PaidTurn(1, 2, {"n": 2}, b"b"), PaidTurn(1, 1, {"n": 1}, b"a")]
    with journal.transaction():
        for turn in turns:
            journal.add_turn(A, "f1", turn)
        journal.add_turn(A, "f2", turns[0])
    assert [turn.answer for turn in journal.paid_turns(A, "f1")] == [b"a", b"b", b"c"]
    assert journal.items_with_turns("f1") == {A}
    settle(journal, A, OK)
    assert journal.paid_turns(A, "f1") == []
    assert journal.items_with_turns("f1") == set()
    assert journal.items_with_turns("f2") == {A}


def test_questions_about_unknown_fingerprints_write_nothing(journal: Journal) -> None:
    """Asking for a fingerprint does not make the journal know it, also within a transaction."""
    with journal.transaction():
        assert journal.standings([A], "f9") == {}
        assert journal.paid_turns(A, "f9") == []
        assert journal.items_with_turns("f9") == set()
        assert journal.answered_otherwise([A], "f9") == 0
    assert journal.fingerprints() == []


def test_leave_to_pay_again_is_remembered_for_one_fingerprint(journal: Journal) -> None:
    """Given once it holds, given twice it holds; other fingerprints have none, and none becomes known by it."""
    for _ in range(2):
        journal.give_leave("f2")
    assert journal.has_leave("f2")
    assert not journal.has_leave("f1")
    assert journal.fingerprints() == []


def test_accepted_fingerprints_are_remembered_once_and_in_order(journal: Journal) -> None:
    """A resumed run needs no second leave."""
    with journal.transaction():
        for fingerprint in ("f2", "f1", "f2"):
            journal.accept(fingerprint)
    assert journal.fingerprints() == ["f2", "f1"]


def test_what_is_rolled_back_is_not_half_remembered(journal: Journal) -> None:
    """A fingerprint that was new in a failed transaction is written again by the next one."""
    journal.begin()
    journal.settle(A, "f1", OK)
    journal.rollback()
    assert journal.fingerprints() == []
    settle(journal, A, OK)
    assert journal.standings([A], "f1") == {A: OK}
    assert journal.fingerprints() == ["f1"]


def test_flights_and_runs_end_once_their_end_is_written(journal: Journal) -> None:
    """What a killed run leaves is what it did not end."""
    with journal.transaction():
        journal.add_flight(1, '{"item_id": "a"}')
        journal.add_flight(2, '{"item_id": "b"}')
        journal.end_flight(1)
        journal.add_run("r1", {"n": 1})
        journal.add_run("r2", {"n": 2})
        journal.forget_run("r1")
    assert journal.flights() == [(2, {"item_id": "b"})]
    assert journal.unfinished_runs() == [("r2", {"n": 2})]


def test_sums_tell_equal_indexes_from_others(journal: Journal) -> None:
    """They depend on which items succeeded under which fingerprint, and on nothing else."""
    settle(journal, A, OK)
    settle(journal, B, BROKEN)
    one = journal.settled_sums()
    assert one == {"f1": (1, int.from_bytes(A))}
    settle(journal, B, OK)
    assert journal.settled_sums() == {"f1": (2, int.from_bytes(A) ^ int.from_bytes(B))}


@pytest.mark.parametrize("table", ["pending", "turns", "flights", "runs"])
def test_a_row_that_is_no_json_is_damage(journal: Journal, table: str) -> None:
    """A garbled row is found by the check of an unsealed journal, not by a traceback later."""
    with journal.transaction():
        journal.add_row(PendingRow(Kind.RESULTS, {"item_id": "a"}))
        journal.add_turn(A, "f1", PaidTurn(1, 1, {}, b""))
        journal.add_flight(1, "{}")
        journal.add_run("r", {})
    journal.check()
    journal.database.connection.execute(f"UPDATE {table} SET body='{{'")
    with pytest.raises(sqlite3.DatabaseError, match="cannot be read"):
        journal.check()
