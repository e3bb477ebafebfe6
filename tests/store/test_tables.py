"""Committed parts read back."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import answered, write_run

from pipeline.store.schema import Kind, part_schema
from pipeline.store.tables import read_batches, read_part, read_table


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """The one part of results of a run over two items."""
    write_run(tmp_path, [answered("a"), answered("b")])
    (path,) = (tmp_path / "results").glob("part-*.parquet")
    return path


def rows(path: Path, columns: list[str] | None = None, fingerprint: str | None = None) -> list[str]:
    """The items of a part, as read."""
    batches = read_part(path, Kind.RESULTS, columns, fingerprint)
    return sorted(item for batch in batches for item in batch["item_id"].to_pylist())


def test_a_part_is_read_with_the_columns_that_were_asked_for(part: Path) -> None:
    """All of them in the contract's order, or those that were named."""
    (batch,) = read_part(part, Kind.RESULTS, None)
    assert batch.schema == part_schema(Kind.RESULTS)
    (batch,) = read_part(part, Kind.RESULTS, ["item_id", "created_at"])
    assert batch.schema.names == ["item_id", "created_at"]
    assert rows(part, None, "f1") == ["a", "b"]
    assert rows(part, None, "other") == []


def test_parts_of_several_runs_are_one_table(tmp_path: Path) -> None:
    """A table has every part's rows, or those of one fingerprint; batches likewise."""
    write_run(tmp_path, [answered("a")], run_id="run-1", fingerprint="f1")
    write_run(tmp_path, [answered("b")], run_id="run-2", fingerprint="f2")
    assert read_table(tmp_path, Kind.RESULTS, None)["item_id"].to_pylist() == ["a", "b"]
    assert read_table(tmp_path, Kind.RESULTS, "f2")["item_id"].to_pylist() == ["b"]
    assert [batch.num_rows for batch in read_batches(tmp_path, Kind.REQUESTS, ["item_id"])] == [1, 1]
    assert read_table(tmp_path, Kind.FAILURES, None).schema == part_schema(Kind.FAILURES)


def damage(path: Path, how: str) -> None:
    """Makes the part unreadable."""
    content = path.read_bytes()
    table = pq.read_table(path)
    match how:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "garbled page":
            path.write_bytes(content[:40] + bytes(16) + content[56:])
        case "garbled footer":
            path.write_bytes(content[:-200] + bytes(100) + content[-100:])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("item_id,caption\na,b\n")
        case "foreign columns":
            pq.write_table(pa.table({"song": ["x"]}), path)
        case "a column short":
            pq.write_table(table.drop_columns(["caption"]), path)
        case "wrong types":
            number = table.column_names.index("created_at")
            pq.write_table(table.set_column(number, "created_at", pa.array(["then", "now"])), path)
        case "folder":
            path.unlink()
            path.mkdir()


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "garbled page",
        "garbled footer",
        "empty",
        "text",
        "foreign columns",
        "a column short",
        "wrong types",
        "folder",
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_left_out(
    part: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Never a traceback, never silence, and never some of its rows."""
    damage(part, how)
    assert rows(part) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(part) in record.getMessage()


def test_a_part_that_goes_after_it_was_listed_is_named(part: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that races with somebody's tidying does not fail."""
    part.unlink()
    assert rows(part) == []
    assert "it is gone" in caplog.text


def test_narrower_types_are_brought_to_the_contracts(part: Path) -> None:
    """A part that another tool has written again, with other widths, is read as the contract says."""
    table = pq.read_table(part)
    number = table.column_names.index("input_tokens")
    pq.write_table(table.set_column(number, "input_tokens", table["input_tokens"].cast(pa.int32())), part)
    (batch,) = read_part(part, Kind.RESULTS, None)
    assert batch.schema == part_schema(Kind.RESULTS)
