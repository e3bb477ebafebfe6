"""What a start finds and puts right, row by row of the table in `recovery`."""

import json
import logging
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import MOMENT, answered, failed, journal_path, recovered, snapshot, write_run

from pipeline.errors import OutputError
from pipeline.store.database import VERSION
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal, Reservation, SettledAs, Standing, item_key
from pipeline.store.keys import duplicate_key
from pipeline.store.publishing import publish_part
from pipeline.store.read import read_results
from pipeline.store.recovery import open_journal, recover, state_folder
from pipeline.store.rows import outcome_row
from pipeline.store.schema import Kind

RUN = RunIdentity("run-1", "f1")


def settled(journal: Journal, *names: str) -> dict[str, SettledAs]:
    """How these items stand; open ones are left out."""
    standings = journal.standings([item_key(name) for name in names], "f1")
    return {name: standings[item_key(name)].state for name in names if item_key(name) in standings}


def results(output: Path) -> list[str]:
    """The items of `results`, sorted."""
    return sorted(read_results(output, fingerprint="f1")["item_id"].to_pylist())


def part(output: Path, kind: str = "results") -> Path:
    """The one part of a table."""
    (path,) = (output / kind).glob("part-*.parquet")
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A dataset after a clean end: `a` and `b` answered, `c` failed, `d` to be tried again, `a` twice."""
    outcomes = [answered("a"), answered("b"), failed("c"), failed("d", "timeout", retryable=True)]
    write_run(tmp_path, [*outcomes, failed("a", "duplicate_id", source="other.jpg")])
    with recovered(tmp_path):
        pass
    return tmp_path


def reserve(output: Path, *names: str) -> Reservation:
    """Settles items and names their part, as a run does that is killed before it is written."""
    journal = open_journal(output)
    with journal.transaction():
        for name in names:
            journal.add_row(outcome_row(answered(name), RUN, MOMENT))
            journal.settle(item_key(name), "f1", Standing(SettledAs.SUCCEEDED))
        reservation = journal.pending.reserve(Kind.RESULTS, "part-r.parquet", 10)
    journal.close()
    assert reservation is not None
    return reservation


def test_after_a_clean_end_nothing_is_changed(written: Path) -> None:
    """Opening, recovering and closing leaves every byte and time as it was, and no file beside the journal."""
    before = snapshot(written)
    with recovered(written) as (_, found):
        assert (found.parts_rewritten, found.flights_lost, found.parts_adopted) == (0, 0, 0)
    assert snapshot(written) == before


def test_a_stray_temporary_file_is_removed(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And named."""
    stray = written / "results" / ".tmp-part-9.parquet"
    stray.write_bytes(b"half")
    with recovered(written):
        pass
    assert not stray.exists()
    assert str(stray) in caplog.text


def test_a_named_part_that_stands_whole_is_not_written_again(tmp_path: Path) -> None:
    """A crash between the rename and its note: the rows leave the journal, the file stays as it is."""
    reservation = reserve(tmp_path, "x", "y")
    journal = Journal(journal_path(tmp_path), read_only=True)
    publish_part(DatasetSettings(tmp_path), reservation, journal.pending.rows_of(reservation.name))
    journal.close()
    before = (tmp_path / "results" / "part-r.parquet").stat().st_mtime_ns
    with recovered(tmp_path) as (journal, found):
        assert found.parts_rewritten == 0
        assert list(journal.pending.rows()) == []
        assert settled(journal, "x", "y") == dict.fromkeys("xy", SettledAs.SUCCEEDED)
    assert part(tmp_path).stat().st_mtime_ns == before
    assert results(tmp_path) == ["x", "y"]


@pytest.mark.parametrize("left", [None, b"", b"PAR1half a part"])
def test_a_named_part_that_is_missing_or_torn_is_written_again(tmp_path: Path, left: bytes | None) -> None:
    """Under the same name, with the same rows."""
    reserve(tmp_path, "x", "y")
    if left is not None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "part-r.parquet").write_bytes(left)
    with recovered(tmp_path) as (_, found):
        assert found.parts_rewritten == 1
    assert part(tmp_path).name == "part-r.parquet"
    assert results(tmp_path) == ["x", "y"]


def test_rows_without_a_part_are_published(tmp_path: Path) -> None:
    """What a killed run had settled is in the dataset before the next one sends anything, and is not asked again."""
    journal = open_journal(tmp_path)
    with journal.transaction():
        for name in "abc":
            journal.add_row(outcome_row(answered(name), RUN, MOMENT))
            journal.settle(item_key(name), "f1", Standing(SettledAs.SUCCEEDED))
    journal.close()
    with recovered(tmp_path, DatasetSettings(tmp_path, rows_per_file=2)) as (journal, found):
        assert found.parts_rewritten == 2
        assert len(settled(journal, *"abc")) == 3
    assert results(tmp_path) == ["a", "b", "c"]


def test_a_run_without_its_file_gets_one(tmp_path: Path) -> None:
    """With a null exit code; one that was written already is left alone."""
    journal = open_journal(tmp_path)
    with journal.transaction():
        journal.add_run("r1", {"config": {"api": "x"}})
        journal.add_run("r2", {})
    journal.close()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r2.json").write_text('{"exit_code": 0}')
    with recovered(tmp_path) as (journal, _):
        assert journal.unfinished_runs() == []
    note = json.loads((tmp_path / "runs" / "r1.json").read_text())
    assert note == {"config": {"api": "x"}, "run_id": "r1", "exit_code": None, "killed": True}
    assert (tmp_path / "runs" / "r2.json").read_text() == '{"exit_code": 0}'


def test_without_a_journal_items_are_settled_by_the_parts(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every item stands as it did, duplicates and failures too, and that is said."""
    for path in (written / "_state").iterdir():
        path.unlink()
    with recovered(written) as (journal, found):
        assert found.parts_adopted == 3
        assert settled(journal, *"abcde") == {
            "a": SettledAs.SUCCEEDED,
            "b": SettledAs.SUCCEEDED,
            "c": SettledAs.FAILED,
            "d": SettledAs.FAILED_RETRYABLE,
        }
        twin = duplicate_key("a", ["other.jpg"])
        assert journal.standings([twin], "f1") == {twin: Standing(SettledAs.FAILED, "duplicate_id")}
    assert "3 parts were not in the journal" in caplog.text
    before = snapshot(written)
    with recovered(written):
        pass
    assert snapshot(written) == before


def test_a_surrogate_in_an_id_keeps_its_key_when_the_index_is_made_anew(tmp_path: Path) -> None:
    """The part holds the escaped text, and its key is that of the item as the manifest names it."""
    write_run(tmp_path, [answered("\udc80.jpg")])
    journal_path(tmp_path).unlink()
    with recovered(tmp_path) as (journal, _):
        assert settled(journal, "\udc80.jpg") == {"\udc80.jpg": SettledAs.SUCCEEDED}


def test_a_part_that_is_gone_opens_its_items(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named; items of other parts stay settled."""
    gone = part(written)
    gone.unlink()
    with recovered(written) as (journal, _):
        assert settled(journal, *"abcd") == {"c": SettledAs.FAILED, "d": SettledAs.FAILED_RETRYABLE}
    assert any(gone.name in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_part_that_was_cut_off_is_set_aside_and_its_items_are_open(
    written: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    """Nothing is deleted: the file lies under `_state/damaged/`, and its place is named."""
    path = part(written)
    path.write_bytes(path.read_bytes()[:cut])
    with recovered(written) as (journal, _):
        assert settled(journal, "a", "b") == {}
        assert settled(journal, "c") == {"c": SettledAs.FAILED}
    (aside,) = (written / "_state" / "damaged").iterdir()
    assert aside.name.endswith(path.name)
    assert str(aside) in caplog.text
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"no part", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_foreign_part_is_set_aside(written: Path, content: bytes) -> None:
    """And the rest of the dataset stays as it is."""
    (written / "results" / "part-foreign.parquet").write_bytes(content)
    with recovered(written) as (journal, found):
        assert found.parts_adopted == 0
        assert len(settled(journal, *"abcd")) == 4
    assert results(written) == ["a", "b"]


def test_a_copy_of_a_part_is_set_aside(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows stay unique, whether the journal knows the original or is lost."""
    path = part(written)
    (written / "results" / "part-copy.parquet").write_bytes(path.read_bytes())
    with recovered(written):
        pass
    assert results(written) == ["a", "b"]
    assert "part-copy.parquet" in caplog.text
    (written / "results" / "part-copy.parquet").write_bytes(path.read_bytes())
    journal_path(written).unlink()
    with recovered(written):
        pass
    assert results(written) == ["a", "b"]


def test_an_older_journal_does_not_publish_its_rows_a_second_time(tmp_path: Path) -> None:
    """Put back from a copy made before the rows were published, it yields to the parts."""
    reserve(tmp_path, "x")
    journal = open_journal(tmp_path)
    with journal.transaction():
        journal.add_row(outcome_row(answered("y"), RUN, MOMENT))
        journal.settle(item_key("y"), "f1", Standing(SettledAs.SUCCEEDED))
    journal.close()
    older = journal_path(tmp_path).read_bytes()
    with recovered(tmp_path):
        pass
    assert results(tmp_path) == ["x", "y"]
    (tmp_path / "_state" / "journal.seal").unlink()
    journal_path(tmp_path).write_bytes(older)
    with recovered(tmp_path) as (journal, _):
        assert len(settled(journal, "x", "y")) == 2
    assert results(tmp_path) == ["x", "y"]


def test_an_index_that_disagrees_with_the_parts_is_made_anew(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a journal that a killed run left, a lost or garbled key is noticed and mended."""
    database = sqlite3.connect(journal_path(written))
    database.execute("UPDATE settled SET item=zeroblob(16) WHERE item=?", (item_key("a"),))
    database.commit()
    database.close()
    (written / "_state" / "journal.seal").unlink()
    with recovered(written) as (journal, _):
        assert len(settled(journal, *"abcd")) == 4
        assert journal.standings([bytes(16)], "f1") == {}
    assert "made anew from the parts" in caplog.text


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(written: Path) -> None:
    """An older program neither reads it nor sets it aside."""
    database = sqlite3.connect(journal_path(written))
    database.execute("UPDATE meta SET value=?", (str(VERSION + 1),))
    database.commit()
    database.close()
    (written / "_state" / "journal.seal").unlink()
    before = snapshot(written)
    with pytest.raises(OutputError, match="newer version"):
        open_journal(written)
    assert snapshot(written) == before


@settings(deadline=None, max_examples=50)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), how=st.sampled_from(["cut", "flip", "zero"]))
@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_damaged_journal_is_never_read_as_nothing_done(
    tmp_path_factory: pytest.TempPathFactory, share: float, flip: int, how: str, *, is_sealed: bool
) -> None:
    """Cut, garbled or zeroed at any byte, after a clean end or a kill: answered items stay answered."""
    output = tmp_path_factory.mktemp("damaged")
    write_run(output, [answered("a"), answered("b"), failed("c")])
    path = journal_path(output)
    content = path.read_bytes()
    at = int(share * len(content))
    changed = {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :],
        "zero": content[:at] + bytes(len(content) - at),
    }[how]
    path.write_bytes(changed)
    if not is_sealed:
        (output / "_state" / "journal.seal").unlink()
    try:
        with recovered(output) as (journal, _):
            assert settled(journal, "a", "b") == dict.fromkeys("ab", SettledAs.SUCCEEDED)
    except OutputError as error:
        assert "newer version" in str(error)  # noqa: PT017 - a flipped digit of the version is refused, too
    assert results(output) == ["a", "b"]


def test_a_damaged_journal_is_set_aside_and_named(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With what lay beside it; the new one is private as the old one was."""
    journal_path(written).write_bytes(b"no database at all" * 100)
    (written / "_state" / "journal.sqlite-wal").write_bytes(b"log")
    with recovered(written) as (journal, _):
        assert len(settled(journal, *"abcd")) == 4
    names = sorted(path.name for path in (written / "_state" / "damaged").iterdir())
    assert [name.partition("-")[2] for name in names] == ["journal.sqlite", "journal.sqlite-wal"]
    assert "the journal was damaged" in caplog.text
    assert (journal_path(written).stat().st_mode & 0o777) == 0o600


def test_the_state_folder_is_private_and_no_link(tmp_path: Path) -> None:
    """What is private may not be led elsewhere."""
    assert (state_folder(tmp_path / "new" / "out").stat().st_mode & 0o777) == 0o700
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_state").symlink_to(tmp_path / "new")
    with pytest.raises(OutputError, match="is a link"):
        state_folder(tmp_path / "out")


def test_recovering_twice_is_as_recovering_once(tmp_path: Path) -> None:
    """A start that is killed during recovery is taken up by the next one."""
    reserve(tmp_path, "x")
    journal = open_journal(tmp_path)
    recover(journal, DatasetSettings(tmp_path))
    before = read_results(tmp_path)
    again = recover(journal, DatasetSettings(tmp_path))
    journal.close()
    assert (again.parts_rewritten, again.parts_adopted) == (0, 0)
    assert read_results(tmp_path).equals(before)


def test_a_part_that_was_garbled_in_place_is_found_by_its_time(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its size is what it was; that it was written to since tells, and its pages are read."""
    part = next((written / "results").iterdir())
    content = bytearray(part.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 40] = bytes(40)
    part.write_bytes(content)
    with recovered(written) as (journal, _):
        assert settled(journal, "a", "b") == {}
    assert "set aside" in caplog.text
    assert not part.exists()


def test_a_dataset_that_was_copied_is_read_once_and_then_known(written: Path) -> None:
    """Other times and the same pages: nothing is lost, and the start after that is quick again."""
    for part in written.rglob("part-*.parquet"):
        os.utime(part, (1, 1))
    with recovered(written) as (journal, found):
        assert settled(journal, "a", "b") == {"a": SettledAs.SUCCEEDED, "b": SettledAs.SUCCEEDED}
        assert found.parts_adopted == 0
    before = snapshot(written)
    with recovered(written):
        pass
    assert snapshot(written) == before


def test_a_list_of_parts_that_was_emptied_does_not_empty_the_dataset(written: Path) -> None:
    """Parts that no list names are no copies of themselves."""
    (written / "_state" / "journal.seal").unlink()
    with sqlite3.connect(journal_path(written)) as connection:
        connection.execute("DELETE FROM parts")
    connection.close()
    with recovered(written) as (journal, _):
        assert settled(journal, "a", "b") == {"a": SettledAs.SUCCEEDED, "b": SettledAs.SUCCEEDED}
    assert sorted(read_results(written)["item_id"].to_pylist()) == ["a", "b"]


@pytest.mark.parametrize("is_empty", [True, False])
def test_parts_without_a_journal_are_told_of(written: Path, caplog: pytest.LogCaptureFixture, is_empty: bool) -> None:
    """What was in the journal alone may be asked again, so it is said, for an empty file as for none."""
    journal_path(written).write_bytes(b"") if is_empty else journal_path(written).unlink()
    with recovered(written) as (journal, _):
        assert settled(journal, "a", "b") == {"a": SettledAs.SUCCEEDED, "b": SettledAs.SUCCEEDED}
    assert "the journal is gone" in caplog.text


def test_a_damaged_log_is_kept_and_named(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its later commits are lost to the dataset, and never without a word."""
    log = journal_path(written).with_name("journal.sqlite-wal")
    log.write_bytes(os.urandom(8192))
    with recovered(written):
        pass
    assert "damaged" in caplog.text
    assert list((written / "_state" / "damaged").iterdir())
