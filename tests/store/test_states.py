"""How items stand, by their newest rows."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import MOMENT

from pipeline.store.schema import TIMESTAMP
from pipeline.store.states import States


def batch(*rows: tuple[str, str, int, str | None]) -> pa.RecordBatch:
    """Rows of (item, fingerprint, second, error type); of failures where the first one has an error."""
    columns: dict[str, Any] = {
        "item_id": [row[0] for row in rows],
        "fingerprint": [row[1] for row in rows],
        "created_at": pa.array([MOMENT + timedelta(seconds=row[2]) for row in rows], TIMESTAMP),
    }
    if rows and rows[0][3] is not None:
        columns |= {"error_type": [row[3] for row in rows], "images": [[{"source": f"{row[2]}.jpg"}] for row in rows]}
    return pa.RecordBatch.from_pydict(columns)


def states(*rows: tuple[str, str, int, str | None]) -> States:
    """Each row in a batch of its own, as if from many parts."""
    made = States()
    for row in rows:
        made.add(batch(row))
    return made


def test_the_newest_row_decides_in_whatever_order_rows_are_read() -> None:
    """A later success mends a failure, and a later failure counts against a success of another fingerprint."""
    rows = [("a", "f1", 1, "timeout"), ("a", "f1", 2, None), ("b", "f1", 1, None), ("b", "f2", 3, "refusal")]
    for order in (rows, rows[::-1]):
        overall, by_fingerprint = states(*order).counts()
        assert overall == {None: 1, "refusal": 1}
        assert by_fingerprint == {"f2": {"refusal": 1}, "f1": {None: 2}}
        assert next(iter(by_fingerprint)) == "f2"


def test_an_answer_wins_over_a_failure_of_the_same_moment() -> None:
    """A tie is never counted twice, nor against the answer."""
    for order in ([("a", "f1", 1, "timeout"), ("a", "f1", 1, None)], [("a", "f1", 1, None), ("a", "f1", 1, "timeout")]):
        assert states(*order).counts()[0] == {None: 1}


def test_a_duplicate_id_is_an_item_beside_the_one_whose_id_it_shares() -> None:
    """Told from it, and from other duplicates, by its images; seen again it is still one."""
    rows = [
        ("a", "f1", 0, None),
        ("a", "f1", 1, "duplicate_id"),
        ("a", "f1", 2, "duplicate_id"),
        ("a", "f1", 2, "duplicate_id"),
    ]
    assert states(*rows).counts()[0] == {None: 1, "duplicate_id": 2}


def test_no_rows_are_no_items() -> None:
    """Of an empty dataset, and of empty parts."""
    made = States()
    made.add(batch(("a", "f1", 0, None)).slice(0, 0))
    assert made.counts() == ({}, {})
    assert States().counts() == ({}, {})


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["f1", "f2"]), st.integers(0, 99), st.sampled_from([None, "x", "y"])
    ),
    unique_by=lambda row: row[2],
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_counts_equal_a_plain_walk_over_the_rows_in_time(rows: list[tuple[str, str, int, str | None]]) -> None:
    """The columnar count is the obvious one: a later row replaces an earlier one of its item."""
    overall: dict[str, str | None] = {}
    under: dict[tuple[str, str], str | None] = {}
    for item, fingerprint, _, error in sorted(rows, key=lambda row: row[2]):
        overall[item] = under[item, fingerprint] = error
    counted, by_fingerprint = states(*rows).counts()
    assert counted == {error: list(overall.values()).count(error) for error in set(overall.values())}
    for mark in {row[1] for row in rows}:
        mine = [error for (_, fingerprint), error in under.items() if fingerprint == mark]
        assert by_fingerprint[mark] == {error: mine.count(error) for error in set(mine)}
