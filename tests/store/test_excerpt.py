"""The first rows of one run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import answered, failed, with_ledger, write_run

from pipeline.store.excerpt import rows_of_run
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.ledger import Ledger
from pipeline.store.parts import list_parts
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


def found(output: Path, run_id: str = "run-1", most: int = 3, kind: Kind = Kind.RESULTS) -> list[str]:
    """The items of the excerpt."""
    return [row["item_id"] for row in rows_of_run(output, kind, run_id, ["item_id", "run_id"], most)]


def test_several_parts_are_read_until_there_are_enough(tmp_path: Path) -> None:
    """A run with small parts has its first rows spread over them."""
    settings = DatasetSettings(tmp_path, rows_per_file=2)

    async def body(ledger: Ledger) -> None:
        for name in "abcde":
            await ledger.settle(answered(name))

    with_ledger(tmp_path, body, RunIdentity("run-1", "f1"), settings)
    assert len(list_parts(tmp_path, Kind.RESULTS)) == 3
    assert found(tmp_path, most=5) == list("abcde")


@pytest.mark.parametrize("damage", ["empty", "torn", "garbled", "foreign", "gone"])
def test_what_cannot_be_read_is_left_out(tmp_path: Path, damage: str) -> None:
    """A summary is no place to fail: a damaged part costs its lines of the excerpt."""
    write_run(tmp_path, [answered("a"), answered("b")])
    write_run(tmp_path, [answered("c")], run_id="run-10")
    path = list_parts(tmp_path, Kind.RESULTS)[0]
    raw = path.read_bytes()
    if damage == "foreign":
        pq.write_table(pa.table({"run_id": ["run-1"]}), path)
    elif damage == "gone":
        path.unlink()
        path.mkdir()
    else:
        place = len(raw) // 3
        garbled = raw[:place] + bytes(byte ^ 0xFF for byte in raw[place : place + 40]) + raw[place + 40 :]
        path.write_bytes({"empty": b"", "torn": raw[:-40], "garbled": garbled}[damage])
    assert set(found(tmp_path)) <= {"c", "a", "b"}
    assert found(tmp_path, "run-10") == ["c"]
    if damage != "garbled":
        assert "a" not in found(tmp_path)


def test_a_dataset_without_the_table_has_no_rows(tmp_path: Path) -> None:
    """A run in which nothing failed has no failures folder."""
    write_run(tmp_path, [answered("a")])
    assert found(tmp_path, kind=Kind.FAILURES) == []
    write_run(tmp_path, [failed("b")], run_id="run-2")
    assert found(tmp_path, "run-2", kind=Kind.FAILURES) == ["b"]
