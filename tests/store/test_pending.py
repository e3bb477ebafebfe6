"""Rows on their way to parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.database import Database
from pipeline.store.parts import Stamp
from pipeline.store.pending import PendingRow, PendingRows
from pipeline.store.schema import Kind


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[PendingRows]:
    """The rows of a new journal."""
    database = Database(tmp_path / "journal.sqlite")
    yield PendingRows(database.connection)
    database.close()


def row(item_id: str, kind: Kind = Kind.RESULTS, **more: Any) -> PendingRow:
    """A row that names its item."""
    return PendingRow(kind, {"item_id": item_id}, **more)


def ids(rows: PendingRows, name: str) -> list[str]:
    """The items of a part that was named, in order."""
    return [body["item_id"] for body, _, _ in rows.rows_of(name)]


def test_a_part_takes_the_oldest_rows_and_no_more_than_it_may(rows: PendingRows) -> None:
    """Rows keep their order, and what did not fit waits for the next part."""
    for number in range(5):
        rows.add(row(f"i{number}"))
    first, second = rows.reserve(Kind.RESULTS, "a", 3), rows.reserve(Kind.RESULTS, "b", 3)
    assert first is not None
    assert second is not None
    assert (first.rows, second.rows) == (3, 2)
    assert (ids(rows, "a"), ids(rows, "b")) == (["i0", "i1", "i2"], ["i3", "i4"])
    assert rows.reserve(Kind.RESULTS, "c", 3) is None


def test_a_part_holds_rows_of_one_kind_and_one_shape(rows: PendingRows) -> None:
    """Rows with other manifest columns or another schema go to another part, which knows their shape."""
    rows.add(row("plain"))
    rows.add(row("wide", manifest_schema=b"schema", extras=b"x", thumbnail=b"t"))
    rows.add(row("typed", data_schema="{}"))
    rows.add(row("broken", Kind.FAILURES))
    rows.add(row("plain too"))
    made = [rows.reserve(Kind.RESULTS, name, 10) for name in "abc"]
    assert [ids(rows, name) for name in "abc"] == [["plain", "plain too"], ["wide"], ["typed"]]
    assert [(one.manifest_schema, one.data_schema, one.thumbnails) for one in made if one] == [
        (None, None, False),
        (b"schema", None, True),
        (None, "{}", False),
    ]
    assert not rows.waits(Kind.RESULTS)
    assert rows.waits(Kind.FAILURES)


def test_a_named_part_is_found_again_with_its_rows(rows: PendingRows) -> None:
    """What a crash between naming and publishing leaves is the same part with the same rows."""
    rows.add(row("x", manifest_schema=b"schema", extras=b"e"))
    reservation = rows.reserve(Kind.RESULTS, "a", 10)
    rows.add(row("later"))
    assert rows.reserved() == [reservation]
    assert list(rows.rows_of("a")) == [({"item_id": "x"}, b"e", None)]


def test_publishing_twice_is_as_publishing_once(rows: PendingRows) -> None:
    """Its rows leave the journal, its stamp is known, and nothing else is touched."""
    rows.add(row("x"))
    rows.reserve(Kind.RESULTS, "a", 10)
    rows.add(row("waiting"))
    for _ in range(2):
        rows.published("a", Stamp(123, 7))
        assert rows.known_parts() == {(Kind.RESULTS, "a"): Stamp(123, 7)}
        assert [body["item_id"] for _, body in rows.rows()] == ["waiting"]
        assert rows.reserved() == []


def test_an_answer_is_found_in_the_journal_and_then_in_its_part(rows: PendingRows) -> None:
    """Identical requests find the first answer, wherever its row is by now."""
    rows.add(row("x", reuse=b"key"))
    rows.add(row("y", reuse=b"key"))
    assert rows.answer_place(b"key") == ({"item_id": "x"}, None, "x")
    rows.reserve(Kind.RESULTS, "a", 10)
    assert rows.answer_place(b"key") == ({"item_id": "x"}, None, "x")
    rows.published("a", Stamp(1))
    assert rows.answer_place(b"key") == (None, "a", "x")
    assert rows.answer_place(b"other") is None
    rows.forget_part(Kind.RESULTS, "a")
    assert rows.answer_place(b"key") is None


def test_a_dropped_row_is_found_in_the_part_that_holds_it(rows: PendingRows) -> None:
    """Where a part holds a row already, the row leaves the journal and its answer stays known."""
    rows.add(row("x", reuse=b"key"))
    ((number, _),) = rows.numbered_rows(Kind.RESULTS)
    rows.drop(number, "a")
    assert list(rows.rows()) == []
    assert rows.answer_place(b"key") == (None, "a", "x")


def test_the_same_name_in_two_tables_is_two_parts(rows: PendingRows) -> None:
    """A file copied into another table's folder does not unmake the part it was copied from."""
    rows.adopt_part(Kind.RESULTS, "a", Stamp(1))
    rows.adopt_part(Kind.FAILURES, "a", Stamp(2))
    rows.forget_part(Kind.FAILURES, "a")
    assert rows.known_parts() == {(Kind.RESULTS, "a"): Stamp(1)}


def test_a_shape_that_was_taken_back_is_written_again(tmp_path: Path) -> None:
    """After a rollback, rows do not point to a shape that is not there."""
    database = Database(tmp_path / "journal.sqlite")
    rows = PendingRows(database.connection)
    database.begin()
    rows.add(row("lost", data_schema="{}"))
    database.rollback()
    rows.forget_cached()
    rows.add(row("kept", data_schema="{}"))
    reservation = rows.reserve(Kind.RESULTS, "a", 1)
    database.close()
    assert reservation is not None
    assert reservation.data_schema == "{}"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(list(Kind)), st.sampled_from([None, "{}", "[]"])),
        st.tuples(st.just("reserve"), st.sampled_from(list(Kind)), st.integers(1, 4)),
        st.tuples(st.just("publish"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_no_row_is_lost_and_none_is_in_two_parts(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Whatever the order of adding, naming and publishing, each row is in one place."""
    database = Database(tmp_path_factory.mktemp("pending") / "journal.sqlite")
    rows = PendingRows(database.connection)
    added = 0
    out: list[str] = []
    for step, (verb, kind, more) in enumerate(steps):
        if verb == "add":
            rows.add(row(f"i{added}", kind, data_schema=more))
            added += 1
        elif verb == "reserve":
            rows.reserve(kind, f"part-{step}", more)
        else:
            for reservation in rows.reserved()[:1]:
                out += ids(rows, reservation.name)
                assert reservation.rows == len(ids(rows, reservation.name))
                rows.published(reservation.name, Stamp(1))
    here = [body["item_id"] for _, body in rows.rows()]
    database.close()
    assert sorted(here + out) == sorted(f"i{number}" for number in range(added))
