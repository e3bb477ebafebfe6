"""From rows to a part, and back to one answer."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.datasets import MOMENT, answered

from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.pending import Reservation
from pipeline.store.publishing import publish_part, read_answer
from pipeline.store.rows import outcome_row
from pipeline.store.schema import Kind

RUN = RunIdentity("run-1", "f1")
MANY = 9000


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with one part of many answers."""
    place = tmp_path_factory.mktemp("out")
    rows = ((outcome_row(answered(f"i{number}"), RUN, MOMENT).body, None, None) for number in range(MANY))
    stamp = publish_part(DatasetSettings(place), Reservation("part-1.parquet", Kind.RESULTS), rows)
    assert (place / "results" / "part-1.parquet").stat().st_size == stamp.bytes
    return place


def test_a_long_part_is_written_in_bounded_row_groups(output: Path) -> None:
    """Rows come from an iterator that is never held whole, and keep their order."""
    with pq.ParquetFile(output / "results" / "part-1.parquet") as part:
        sizes = [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)]
        assert part.read(["item_id"])["item_id"].to_pylist() == [f"i{number}" for number in range(MANY)]
    assert len(sizes) == 3
    assert max(sizes) < MANY / 2


@pytest.mark.parametrize("number", [0, 4095, 4096, MANY - 1])
def test_an_answer_is_found_wherever_it_stands(output: Path, number: int) -> None:
    """In the first row group and in the last, by its item and fingerprint."""
    row = read_answer(output, "part-1.parquet", f"i{number}", "f1")
    assert row is not None
    assert row["caption"] == f"caption of i{number}"


def test_an_answer_that_is_not_there_is_none(output: Path) -> None:
    """Of another item, another fingerprint, or a part that is gone or damaged."""
    assert read_answer(output, "part-1.parquet", "x", "f1") is None
    assert read_answer(output, "part-1.parquet", "i0", "f2") is None
    assert read_answer(output, "part-2.parquet", "i0", "f1") is None
    (output / "results" / "part-3.parquet").write_bytes(b"PAR1 no part PAR1")
    assert read_answer(output, "part-3.parquet", "i0", "f1") is None
