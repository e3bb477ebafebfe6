"""Readers of a dataset."""

import json
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import answered, caption_all, failed, paid, snapshot, with_ledger, write_run

from pipeline.errors import OutputError
from pipeline.records import Usage
from pipeline.store.identity import DatasetSettings
from pipeline.store.ledger import Ledger
from pipeline.store.read import RequestCounts, dataset_status, read_results
from pipeline.store.schema import Kind, part_schema


def ids(table: pa.Table) -> list[str]:
    """The items of a table, in order."""
    return [str(item) for item in table["item_id"].to_pylist()]


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    """Two runs: `b` and `c` fail in the first; in the second `b` is mended, `c` fails otherwise, `a` stands twice."""
    write_run(tmp_path, [answered("a"), failed("b"), failed("c", "timeout", retryable=True)], run_id="run-1")
    again = [answered("b"), failed("c", "image_corrupt"), failed("a", "duplicate_id", source="other.jpg")]
    write_run(tmp_path, again, run_id="run-2")
    return tmp_path


def test_results_have_one_row_per_answered_item(mended: Path) -> None:
    """Over all parts, with the contract's columns."""
    table = read_results(mended)
    assert sorted(ids(table)) == ["a", "b"]
    assert table.schema == part_schema(Kind.RESULTS)
    assert read_results(str(mended)).equals(table)
    assert table.to_pandas().set_index("item_id").loc["b", "caption"] == "caption of b"


def test_failures_are_those_that_stand_each_by_its_newest_row(mended: Path) -> None:
    """A later success mends an item, a later failure replaces the older one, a duplicate id stands beside its twin."""
    table = read_results(mended, failures=True)
    rows = {(row["item_id"], row["error_type"], row["run_id"]) for row in table.to_pylist()}
    assert rows == {("c", "image_corrupt", "run-2"), ("a", "duplicate_id", "run-2")}
    assert table.schema == part_schema(Kind.FAILURES)


def test_requests_are_all_that_were_sent(mended: Path) -> None:
    """Every row of every fingerprint, or of the one that is given."""
    write_run(mended, [answered("z")], run_id="run-3", fingerprint="f2")
    assert read_results(mended, requests=True).num_rows == 7
    assert ids(read_results(mended, requests=True, fingerprint="f2")) == ["z"]


def test_the_newest_fingerprint_is_read_unless_one_is_given(mended: Path) -> None:
    """Answers of different settings are never mixed."""
    write_run(mended, [answered("a"), failed("b", "refusal")], run_id="run-3", fingerprint="f2")
    assert ids(read_results(mended)) == ["a"]
    assert ids(read_results(mended, failures=True)) == ["b"]
    assert sorted(ids(read_results(mended, fingerprint="f1"))) == ["a", "b"]
    assert sorted(ids(read_results(mended, failures=True, fingerprint="f1"))) == ["a", "c"]
    assert ids(read_results(mended, fingerprint="f3")) == []


def test_a_failure_may_be_the_newest_row(tmp_path: Path) -> None:
    """A run in which everything failed is the newest one all the same."""
    write_run(tmp_path, [answered("a")], run_id="run-1", fingerprint="f1")
    write_run(tmp_path, [failed("a")], run_id="run-2", fingerprint="f2")
    assert ids(read_results(tmp_path)) == []
    assert ids(read_results(tmp_path, failures=True)) == ["a"]


def test_parts_with_other_columns_are_read_together(tmp_path: Path) -> None:
    """Manifests whose columns changed between runs, and thumbnails that only some rows have."""
    write_run(tmp_path, [answered("a", manifest={"title": "A", "n": 1})], run_id="run-1")
    write_run(tmp_path, [answered("b", manifest={"n": "many", "day": 2.5}, thumbnail=b"webp")], run_id="run-2")
    write_run(tmp_path, [answered("c")], run_id="run-3")
    table = read_results(tmp_path)
    assert table.column_names == [*part_schema(Kind.RESULTS).names, "manifest", "thumbnail"]
    rows = {row["item_id"]: (row["manifest"], row["thumbnail"]) for row in table.to_pylist()}
    assert rows == {
        "a": ({"title": "A", "n": "1", "day": None}, None),
        "b": ({"title": None, "n": "many", "day": 2.5}, b"webp"),
        "c": (None, None),
    }


@pytest.mark.parametrize("kind", list(Kind))
def test_a_dataset_without_parts_is_empty_and_has_the_contracts_columns(tmp_path: Path, kind: Kind) -> None:
    """From the moment at which a first run has made its folder."""
    (tmp_path / "_state").mkdir()
    table = read_results(tmp_path, failures=kind is Kind.FAILURES, requests=kind is Kind.REQUESTS)
    assert table.num_rows == 0
    assert table.schema == part_schema(kind)
    status = dataset_status(tmp_path)
    assert (status.succeeded, status.failed, status.cost_usd, status.fingerprints) == (0, 0, 0.0, {})
    assert status.requests == RequestCounts()


@pytest.mark.parametrize("reader", [read_results, dataset_status])
def test_what_is_no_dataset_is_named(tmp_path: Path, reader: object) -> None:
    """A missing folder, a file and a foreign folder are errors that name the path, and nothing is made there."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert callable(reader)
    for name in ("missing", "file", "folder"):
        with pytest.raises(OutputError, match=f"{tmp_path}/{name}: ") as caught:
            reader(tmp_path / name)
        assert caught.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_two_tables_at_once_are_refused(mended: Path) -> None:
    """Failures and requests have no common columns."""
    with pytest.raises(ValueError, match="one at a time"):
        read_results(mended, failures=True, requests=True)


def test_reading_changes_nothing(mended: Path) -> None:
    """Readers need no lock and write no byte."""
    before = snapshot(mended)
    read_results(mended, failures=True)
    dataset_status(mended)
    assert snapshot(mended) == before


def test_a_live_run_can_be_read_at_any_time(tmp_path: Path) -> None:
    """What is committed is seen, what is pending is not yet, and the run is not disturbed."""
    seen: list[list[str]] = []

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a")])
        seen.append(ids(read_results(tmp_path)))
        await ledger.publish()
        seen.append(ids(read_results(tmp_path)))
        assert dataset_status(tmp_path).succeeded == 1
        await caption_all(ledger, [answered("b")])

    with_ledger(tmp_path, body, settings=DatasetSettings(tmp_path))
    assert seen == [[], ["a"]]
    assert sorted(ids(read_results(tmp_path))) == ["a", "b"]


def test_stray_and_foreign_files_do_not_disturb_readers(mended: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Temporary files are passed over in silence; a damaged part and a foreign run entry are named."""
    whole = read_results(mended)
    place = mended / "results"
    (place / ".tmp-part-9.parquet").write_bytes(b"half")
    (place / "notes.txt").write_text("mine")
    assert read_results(mended).equals(whole)
    assert caplog.records == []
    (place / "part-zzz.parquet").write_bytes(b"PAR1 garbage PAR1")
    (mended / "runs" / "mine.json").write_text("[1]")
    (mended / "runs" / "torn.json").write_text('{"run_id":')
    (mended / "runs" / ".tmp-run-9.json").write_text("{")
    assert read_results(mended).equals(whole)
    assert len(dataset_status(mended).runs) == 2
    for name in ("part-zzz.parquet", "mine.json", "torn.json"):
        assert name in caplog.text
    assert ".tmp" not in caplog.text


def test_status_counts_items_by_their_newest_row(mended: Path) -> None:
    """Over all fingerprints; and under each of them, the newest fingerprint first."""
    write_run(mended, [failed("b", "refusal"), answered("d")], run_id="run-3", fingerprint="f2")
    status = dataset_status(mended)
    assert status.output == mended
    assert (status.succeeded, status.failed) == (2, 3)
    assert status.failures_by_type == {"duplicate_id": 1, "image_corrupt": 1, "refusal": 1}
    assert list(status.fingerprints.items()) == [("f2", (1, 1)), ("f1", (2, 2))]
    assert status.succeeded == len({"a", "d"})


def test_status_sums_the_bill_over_the_datasets_whole_life(tmp_path: Path) -> None:
    """Tokens and dollars of every request; unanswered ones count as sent."""

    async def body(ledger: Ledger) -> None:
        for attempt, status in enumerate((429, None, 200), start=1):
            await ledger.arrive(ledger.depart("a", 1, attempt, paid("a").started_at), paid("a", attempt, status=status))

    with_ledger(tmp_path, body)
    write_run(tmp_path, [answered("b")], run_id="run-2", fingerprint="f2")
    status = dataset_status(tmp_path)
    assert status.requests == RequestCounts(sent=4, succeeded=2, retried=2, rate_limited=1)
    assert status.usage == Usage(20, 4, 6, 8)
    assert status.cost_usd == pytest.approx(1.0)
    rows = read_results(tmp_path, requests=True).to_pylist()
    assert sum(row["cost_usd"] or 0 for row in rows) == status.cost_usd


def test_status_lists_runs_by_name(mended: Path) -> None:
    """As their files say, in order."""
    (mended / "runs" / "run-0.json").write_text(json.dumps({"run_id": "run-0", "exit_code": 0}))
    assert [run["run_id"] for run in dataset_status(mended).runs] == ["run-0", "run-1", "run-2"]


def test_many_rows_are_counted_in_batches(tmp_path: Path) -> None:
    """Parts longer than one batch are counted whole, row groups and all."""
    write_run(tmp_path, [answered("a")])
    (path,) = (tmp_path / "results").glob("*.parquet")
    table = pq.read_table(path)
    many = 40_000
    big = pa.concat_tables([table] * many).set_column(0, "item_id", pa.array([f"i{at}" for at in range(many)]))
    pq.write_table(big, tmp_path / "results" / "part-zz.parquet", row_group_size=9_000)
    assert dataset_status(tmp_path).succeeded == many + 1
    assert read_results(tmp_path).num_rows == many + 1


def test_coroutines_may_read_too(mended: Path) -> None:
    """Readers are plain functions and run in worker threads as well."""

    async def main() -> int:
        return (await anyio.to_thread.run_sync(read_results, mended)).num_rows

    assert anyio.run(main) == 2
