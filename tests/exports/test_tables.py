"""Cells of csv, and JSON of what Parquet can hold."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from pipeline.exports.captions import Caption
from pipeline.exports.tables import as_json, write_csv, write_jsonl


class Listed(list[Caption]):
    """Captions with their columns named, as a dataset has them."""

    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(dict.fromkeys(name for one in self for name in one.columns))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    """Ids and captions too; plain texts and numbers stay as they are."""
    sink = StringIO()
    rows: Any = Listed([Caption(text, text, (), {"note": text, "number": -3, "plain": "a=1"})])
    write_csv(rows, sink)
    row = sink.getvalue().split("\n", 1)[1]
    assert row.count(f"'{text}") == 3
    assert ",-3," in row
    assert "a=1" in row


def test_lists_times_and_bytes_are_written_as_json() -> None:
    """What csv and JSON have no type for is said in text."""
    value = {"at": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2), "raw": b"ab", "sum": Decimal("1.50")}
    assert json.loads(as_json(value)) == {
        "at": "2026-01-02T00:00:00+00:00",
        "day": "2026-01-02",
        "raw": "YWI=",
        "sum": "1.50",
    }


def test_a_column_named_like_ours_does_not_replace_it() -> None:
    """The caption is the caption, whatever the manifest calls its columns."""
    sink = StringIO()
    write_jsonl([Caption("a", "the caption", (), {"caption": "old", "item_id": "x", "n": 1})], sink)
    assert json.loads(sink.getvalue()) == {"item_id": "a", "caption": "the caption", "n": 1}
