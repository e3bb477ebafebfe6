"""Answers that take the place of published ones, and crashes on the way."""

from pathlib import Path

import pyarrow.parquet as pq
from support.datasets import answered, caption_all, failed, journal_path, recovered, with_ledger, write_run

from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import SettledAs, item_key
from pipeline.store.ledger import Ledger
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.replacing import planned, replace_rows
from pipeline.store.schema import Kind


def captions(output: Path) -> list[tuple[str, str]]:
    """Items and captions of every row in every part, as they stand there."""
    rows = [row for part in list_parts(output, Kind.RESULTS) for row in pq.ParquetFile(part).read().to_pylist()]
    return sorted((row["item_id"], row["caption"]) for row in rows)


def test_a_second_answer_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """One row an item at the end, in the part where it was; its neighbours and other fingerprints are as they were."""
    write_run(tmp_path, [answered("a"), answered("b")])
    write_run(tmp_path, [answered("a", caption="other settings")], run_id="run-2", fingerprint="f2")
    parts = [part.name for part in list_parts(tmp_path, Kind.RESULTS)]
    write_run(tmp_path, [answered("a", caption="new"), answered("c")], run_id="run-3")
    assert captions(tmp_path) == [
        ("a", "new"),
        ("a", "other settings"),
        ("b", "caption of b"),
        ("c", "caption of c"),
    ]
    assert set(parts) < {part.name for part in list_parts(tmp_path, Kind.RESULTS)}
    assert dataset_status(tmp_path).requests.sent == 5


def test_readers_see_the_old_row_until_the_new_one_is_in_its_place(tmp_path: Path) -> None:
    """Publishing other rows meanwhile brings no second row of the item."""
    write_run(tmp_path, [answered("a")])

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a", caption="new"), answered("b")])
        await ledger.publish()
        assert captions(tmp_path) == [("a", "caption of a"), ("b", "caption of b")]

    with_ledger(tmp_path, body, RunIdentity("run-2", "f1"))
    assert captions(tmp_path) == [("a", "new"), ("b", "caption of b")]


def left_pending(output: Path) -> None:
    """A replacement that no part has: the run's last step was broken off, since the part could not be written."""

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a", caption="new")])
        ledger._publisher._replacing = 0  # as a kill before the last step leaves it

    with_ledger(output, body, RunIdentity("run-2", "f1"))


def test_a_kill_before_the_rewriting_is_made_up_for_by_the_next_start(tmp_path: Path) -> None:
    """The row waits in the journal."""
    write_run(tmp_path, [answered("a"), answered("b")])
    left_pending(tmp_path)
    assert captions(tmp_path) == [("a", "caption of a"), ("b", "caption of b")]
    with recovered(tmp_path) as (journal, _):
        assert journal.pending.replacements() == []
    assert captions(tmp_path) == [("a", "new"), ("b", "caption of b")]


def test_a_kill_after_the_rewriting_is_done_again_and_comes_to_the_same(tmp_path: Path) -> None:
    """The part has the new row already, and the journal does not know."""
    write_run(tmp_path, [answered("a"), answered("b")])
    left_pending(tmp_path)
    settings = DatasetSettings(tmp_path)
    for replacement in planned(settings, journal_path(tmp_path)):
        replace_rows(settings, replacement, journal_path(tmp_path))
    assert captions(tmp_path) == [("a", "new"), ("b", "caption of b")]
    for _ in range(2):
        with recovered(tmp_path) as (journal, found):
            assert journal.pending.replacements() == []
            assert found.parts_adopted == 0
        assert captions(tmp_path) == [("a", "new"), ("b", "caption of b")]


def test_an_item_whose_part_is_gone_is_published_the_usual_way(tmp_path: Path) -> None:
    """There is no row to take the place of, and the answer is not lost."""
    write_run(tmp_path, [answered("a")])
    left_pending(tmp_path)
    for part in list_parts(tmp_path, Kind.RESULTS):
        part.unlink()
    with recovered(tmp_path) as (journal, _):
        assert journal.standings([item_key("a")], "f1")[item_key("a")].state is SettledAs.SUCCEEDED
    assert captions(tmp_path) == [("a", "new")]


def test_identical_requests_find_the_new_answer_and_not_the_old(tmp_path: Path) -> None:
    """The old picture's key no longer leads to the item, whose answer is about another picture now."""

    async def first(ledger: Ledger) -> None:
        await ledger.settle(answered("a"), reuse=b"old picture")
        await ledger.settle(answered("b"), reuse=b"another")

    async def second(ledger: Ledger) -> None:
        await ledger.settle(answered("a", caption="new"), reuse=b"new picture")

    async def third(ledger: Ledger) -> None:
        assert await ledger.answer_for(b"old picture") is None
        new, other = await ledger.answer_for(b"new picture"), await ledger.answer_for(b"another")
        assert (new or {})["caption"] == "new"
        assert (other or {})["caption"] == "caption of b"

    for number, body in enumerate((first, second, third)):
        with_ledger(tmp_path, body, RunIdentity(f"run-{number}", "f1"))


def test_a_failure_does_not_unmake_an_answer(tmp_path: Path) -> None:
    """The item stays answered in the index, so that a later success is known to be a second one."""
    write_run(tmp_path, [answered("a")])
    write_run(tmp_path, [failed("a")], run_id="run-2")
    with recovered(tmp_path) as (journal, _):
        assert journal.has_succeeded(item_key("a"), "f1")
    assert dataset_status(tmp_path).failed == 1
    write_run(tmp_path, [answered("a", caption="new")], run_id="run-3")
    assert captions(tmp_path) == [("a", "new")]
    assert dataset_status(tmp_path).succeeded == 1


def test_rows_of_other_columns_are_brought_to_one(tmp_path: Path) -> None:
    """A part without thumbnails and manifest columns takes a row that has them."""
    write_run(tmp_path, [answered("a"), answered("b")])
    outcome = answered("a", manifest={"title": "T", "year": 2026}, thumbnail=b"webp", caption="new")
    write_run(tmp_path, [outcome], run_id="run-2")
    rows = {row["item_id"]: row for row in read_results(tmp_path).to_pylist()}
    assert rows["a"]["manifest"] == {"title": "T", "year": 2026}
    assert (rows["a"]["thumbnail"], rows["b"]["thumbnail"], rows["b"]["manifest"]) == (b"webp", None, None)


def test_many_changed_items_of_many_parts(tmp_path: Path) -> None:
    """Each part is rewritten once, and no row is lost or doubled."""
    items = [f"i{number:03}" for number in range(60)]
    for start in range(0, 60, 20):
        write_run(tmp_path, [answered(item) for item in items[start : start + 20]], run_id=f"run-{start}")
    changed = set(items[::7])
    write_run(tmp_path, [answered(item, caption="new") for item in sorted(changed)], run_id="run-9")
    assert captions(tmp_path) == [(item, "new" if item in changed else f"caption of {item}") for item in items]
    assert len(list_parts(tmp_path, Kind.RESULTS)) == 3
