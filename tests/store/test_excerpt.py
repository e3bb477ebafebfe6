"""The first rows of one run."""

from pathlib import Path

from support.datasets import answered, write_run

from pipeline.store.excerpt import rows_of_run
from pipeline.store.schema import Kind


def test_the_rows_are_those_of_the_run_that_was_asked_for(tmp_path: Path) -> None:
    """At most so many, in the order of their parts, with the columns that were named."""
    write_run(tmp_path, [answered("a")], run_id="run-1")
    write_run(tmp_path, [answered("b"), answered("c"), answered("d")], run_id="run-2")
    rows = rows_of_run(tmp_path, Kind.RESULTS, "run-2", ["item_id"], 2)
    assert len(rows) == 2
    assert {row["item_id"] for row in rows} < {"b", "c", "d"}
    assert all(list(row) == ["item_id"] for row in rows)
    assert rows_of_run(tmp_path, Kind.FAILURES, "run-2", ["item_id"], 2) == []


def test_a_part_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """A summary does not fail over a damaged file."""
    write_run(tmp_path, [answered("a")], run_id="run-1")
    (tmp_path / "results" / "part-run-1-00000.parquet").write_bytes(b"PAR1 no part PAR1")
    (row,) = rows_of_run(tmp_path, Kind.RESULTS, "run-1", ["item_id"], 5)
    assert row == {"item_id": "a"}
