"""The journal brought to what stands in the folders: where parts disagree among themselves."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from support.datasets import answered, failed, journal_path, recovered, with_ledger, write_run

from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import SettledAs, item_key
from pipeline.store.ledger import Ledger
from pipeline.store.read import read_results
from pipeline.store.reconcile import reconcile_parts, set_aside


def test_a_success_outlasts_older_and_newer_failures(tmp_path: Path) -> None:
    """Whatever order the parts are read in, an answered item is never asked again."""
    write_run(tmp_path, [failed("a"), failed("b", "timeout", retryable=True)], run_id="run-1")
    write_run(tmp_path, [answered("a")], run_id="run-2")
    write_run(tmp_path, [failed("b", "refusal")], run_id="run-3")
    journal_path(tmp_path).unlink()
    with recovered(tmp_path) as (journal, _):
        standings = journal.standings([item_key("a"), item_key("b")], "f1")
        assert standings[item_key("a")].state is SettledAs.SUCCEEDED
        assert standings[item_key("b")].error_type == "refusal"


def test_fingerprints_come_back_with_the_parts(tmp_path: Path) -> None:
    """Items stand under the fingerprint of their row and no other, so that nothing is re-billed without leave."""
    write_run(tmp_path, [answered("a")], run_id="run-1", fingerprint="f1")
    write_run(tmp_path, [answered("b")], run_id="run-2", fingerprint="f2")
    journal_path(tmp_path).unlink()
    with recovered(tmp_path) as (journal, _):
        assert sorted(journal.fingerprints()) == ["f1", "f2"]
        keys = [item_key("a"), item_key("b")]
        assert set(journal.standings(keys, "f1")) == {keys[0]}
        assert journal.answered_otherwise(keys, "f3") == 2


def test_a_part_that_shares_only_some_answers_is_kept_without_them(tmp_path: Path) -> None:
    """No answer is thrown away and none stands twice; the part as it came is kept aside."""
    write_run(tmp_path, [answered("a")], run_id="run-1")
    other = tmp_path / "other"
    write_run(other, [answered("a"), answered("b")], run_id="run-2")
    (foreign,) = (other / "results").iterdir()
    foreign.rename(tmp_path / "results" / foreign.name)
    with recovered(tmp_path) as (journal, found):
        assert found.parts_adopted == 1
        assert set(journal.standings([item_key("b")], "f1")) == {item_key("b")}
    rows = {row["item_id"]: row["run_id"] for row in read_results(tmp_path).to_pylist()}
    assert read_results(tmp_path).num_rows == 2
    assert rows == {"a": "run-1", "b": "run-2"}
    (aside,) = (tmp_path / "_state" / "damaged").iterdir()
    assert pq.read_metadata(aside).num_rows == 2


def test_a_part_that_holds_a_row_twice_keeps_the_first(tmp_path: Path) -> None:
    """Somebody put two parts together that were one."""
    write_run(tmp_path, [answered("a"), answered("b")])
    (part,) = (tmp_path / "results").iterdir()
    table = pq.read_table(part)
    part.unlink()
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "results" / "part-both.parquet")
    with recovered(tmp_path):
        pass
    assert sorted(read_results(tmp_path)["item_id"].to_pylist()) == ["a", "b"]


def test_an_answer_in_a_part_that_is_gone_is_not_copied(tmp_path: Path) -> None:
    """Identical requests are asked again once the row is not there any more."""

    async def body(ledger: Ledger) -> None:
        await ledger.settle(answered("a"), reuse=b"key")

    with_ledger(tmp_path, body, RunIdentity("run-1", "f1"), DatasetSettings(tmp_path))
    for path in (tmp_path / "results").iterdir():
        path.unlink()
    with recovered(tmp_path) as (journal, _):
        assert journal.pending.answer_place(b"key") is None


def test_a_journal_that_agrees_is_left_alone(tmp_path: Path) -> None:
    """Also one that a killed run left: it is read, held against the parts, and not written."""
    write_run(tmp_path, [answered("a"), failed("b")])
    (tmp_path / "_state" / "journal.seal").unlink()
    with recovered(tmp_path) as (journal, _):
        before = journal.database.connection.total_changes
        assert reconcile_parts(journal, tmp_path) == 0
        assert journal.database.connection.total_changes == before == 0


def test_what_is_set_aside_keeps_its_content_and_gets_a_name_of_its_own(tmp_path: Path) -> None:
    """Nothing is overwritten, however often it happens."""
    asides = []
    for content in (b"one", b"two"):
        path = tmp_path / "results.txt"
        path.write_bytes(content)
        asides.append(set_aside(tmp_path, path))
        assert not path.exists()
    assert [aside.read_bytes() for aside in asides] == [b"one", b"two"]
