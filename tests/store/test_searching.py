"""The search over light rows."""

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.schema import Kind
from pipeline.store.searching import Query, chosen, light_rows, ordered

MOMENT = datetime(2026, 5, 1, tzinfo=UTC)
ROWS = [
    {"item_id": "a", "caption": "A red Fox", "cost_usd": 0.3, "tokens": 30, "marks": ["small_edge"], "year": "900"},
    {"item_id": "b", "caption": "a blue fish", "cost_usd": 0.1, "tokens": 10, "marks": [], "year": "1999"},
    {"item_id": "c", "caption": "two red fish", "cost_usd": 0.2, "tokens": 20, "marks": ["truncated"], "year": ""},
]


def light() -> pa.Table:
    """Three answers, with a column of the manifest that is a number in text."""
    return light_rows(
        Kind.RESULTS,
        pa.Table.from_pylist(
            [
                {
                    "item_id": row["item_id"],
                    "fingerprint": "f1",
                    "created_at": MOMENT,
                    "cost_usd": row["cost_usd"],
                    "images": [{"source": f"{row['item_id']}.jpg", "warnings": row["marks"]}],
                    "caption": row["caption"],
                    "output_tokens": row["tokens"],
                    "warnings": [],
                    "manifest": {"year": row["year"], "tags": ["x", row["item_id"]]},
                }
                for row in ROWS
            ]
        ),
    )


def ids(query: Query) -> str:
    """What a query finds, in its order, as one word."""
    rows = light()
    return "".join(ordered(chosen(rows, query), query)["item_id"].to_pylist())


def test_words_are_found_wherever_they_stand() -> None:
    """All words must be there, in any case, in captions, sources and warnings."""
    assert ids(Query(("RED",), sort="id", descending=False)) == "ac"
    assert ids(Query(("red", "fish"))) == "c"
    assert ids(Query(("b.jpg",))) == "b"
    assert ids(Query(("truncated",))) == "c"
    assert ids(Query(("yellow",))) == ""


def test_filters_narrow() -> None:
    """By warning, kind, manifest column, and ids."""
    up = {"sort": "id", "descending": False}
    assert ids(Query(warning="small_edge", **up)) == "a"
    assert ids(Query(warning="small", **up)) == ""
    assert ids(Query(kind="captioned", **up)) == "abc"
    assert ids(Query(kind="timeout", **up)) == ""
    assert ids(Query(column="year", value="9", **up)) == "ab"
    assert ids(Query(column="tags", value='"B"', **up)) == "b"
    assert ids(Query(column="nowhere", value="x", **up)) == ""
    assert ids(Query(among=frozenset("ac"), **up)) == "ac"
    assert ids(Query(among=frozenset(), **up)) == ""
    assert ids(Query(apart_from=frozenset("a"), **up)) == "bc"


def test_sorts() -> None:
    """By cost, tokens and length; a manifest's column of numbers as numbers, empty ones last."""
    assert ids(Query(sort="cost")) == "acb"
    assert ids(Query(sort="tokens", descending=False)) == "bca"
    assert ids(Query(sort="length", descending=False)) == "abc"
    assert ids(Query(sort="column:year", descending=False)) == "abc"
    assert ids(Query(sort="column:year")) == "bac"
    assert ids(Query(sort="column:nowhere", descending=False)) == "abc"


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.text(max_size=4), max_size=3), value=st.text(max_size=4), sort=st.text(max_size=12))
def test_no_query_breaks_it(words: list[str], value: str, sort: str) -> None:
    """Whatever is typed is text: it finds rows or none."""
    found = ids(Query(tuple(words), column="year", value=value, sort=sort))
    assert set(found) <= set("abc")
