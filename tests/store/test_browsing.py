"""A dataset looked through while it grows."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, caption_all, failed, with_ledger, write_run

from pipeline.store.browsing import Browser
from pipeline.store.compact import compact
from pipeline.store.ledger import Ledger
from pipeline.store.searching import Query

BY_ID = Query(sort="id", descending=False)


def ids(browser: Browser, query: Query = BY_ID) -> list[str]:
    """Everything that a query finds."""
    return [row["item_id"] for row in browser.find(query, 0, 100).rows]


def test_items_are_there_as_they_come(tmp_path: Path) -> None:
    """First out of the journal, then out of a part, each once; what did not change is not read again."""

    async def body(ledger: Ledger) -> None:
        browser = Browser(tmp_path)
        await caption_all(ledger, [answered("a")])
        assert browser.refresh()
        assert ids(browser) == ["a"]
        assert not browser.refresh()
        await caption_all(ledger, [answered("b"), failed("c")])
        assert browser.refresh()
        assert ids(browser) == ["a", "b", "c"]
        browsers.append(browser)

    browsers: list[Browser] = []
    with_ledger(tmp_path, body)
    assert browsers[0].refresh()
    assert ids(browsers[0]) == ["a", "b", "c"]
    assert len(list((tmp_path / "results").glob("part-*"))) > 0
    assert browsers[0].facets()["kinds"] == {"captioned": 2, "image_missing": 1}


def test_an_item_is_shown_by_its_newest_row(tmp_path: Path) -> None:
    """A mended failure is gone; a duplicate id's failure stands beside the item whose id it shares."""
    write_run(tmp_path, [failed("a", retryable=True), answered("b")])
    write_run(tmp_path, [answered("a"), failed("b", "duplicate_id", source="other.jpg")], run_id="run-2")
    browser = Browser(tmp_path)
    browser.refresh()
    assert ids(browser) == ["a", "b", "b"]
    assert browser.facets()["kinds"] == {"captioned": 2, "duplicate_id": 1}


def test_the_newest_fingerprint_is_shown_unless_one_is_named(tmp_path: Path) -> None:
    """Each with its own rows."""
    write_run(tmp_path, [answered("a"), answered("b")])
    write_run(tmp_path, [answered("a")], run_id="run-2", fingerprint="f2")
    newest, first = Browser(tmp_path), Browser(tmp_path, "f1")
    newest.refresh()
    first.refresh()
    assert (newest.fingerprint, ids(newest)) == ("f2", ["a"])
    assert (first.fingerprint, ids(first)) == ("f1", ["a", "b"])


def test_a_compaction_between_two_looks_is_noticed(tmp_path: Path) -> None:
    """The merged part is read in the place of those it is made of."""
    write_run(tmp_path, [answered("a", manifest={"n": 1})])
    write_run(tmp_path, [answered("b", manifest={"n": "x"})], run_id="run-2")
    browser = Browser(tmp_path)
    browser.refresh()
    compact(tmp_path)
    assert browser.refresh()
    assert ids(browser) == ["a", "b"]
    assert ids(browser, Query(column="n", value="x")) == ["b"]


def test_what_is_not_held_is_counted(tmp_path: Path) -> None:
    """Of more rows than are held the newest parts' are there."""
    write_run(tmp_path, [answered("a"), answered("b")])
    write_run(tmp_path, [answered("c")], run_id="run-2")
    browser = Browser(tmp_path, most=2)
    browser.refresh()
    assert browser.left_out == 1
    assert len(browser) == 2
    assert "c" in ids(browser)


def test_damage_costs_a_part_alone(tmp_path: Path) -> None:
    """And an empty folder is no fault."""
    browser = Browser(tmp_path)
    assert not browser.refresh() or len(browser) == 0
    write_run(tmp_path, [answered("a")])
    (tmp_path / "results" / "part-broken.parquet").write_bytes(b"PAR1")
    browser.refresh()
    assert ids(browser) == ["a"]
    assert browser.row("a", "f1") is not None
    assert browser.row("a", "f2") is None


@settings(max_examples=15, deadline=None)
@given(most=st.integers(1, 9), offset=st.integers(0, 30), data=st.data())
def test_pages_put_together_are_the_whole(tmp_path_factory: Any, most: int, offset: int, data: st.DataObject) -> None:
    """Whatever the size of the page, each item is on one."""
    if not PLACE:
        PLACE.append(tmp_path_factory.mktemp("browsing") / "out")
        write_run(PLACE[0], [answered(f"item-{number:02}") for number in range(13)])
        write_run(PLACE[0], [failed(f"item-{number:02}") for number in range(13, 17)], run_id="run-2")
    browser = Browser(PLACE[0])
    browser.refresh()
    sort = data.draw(st.sampled_from(["time", "id", "cost", "tokens", "length"]))
    query = Query(sort=sort, descending=data.draw(st.booleans()))
    pages = [browser.find(query, start, most) for start in range(0, 17, most)]
    found = [row["item_id"] for page in pages for row in page.rows]
    assert sorted(found) == [f"item-{number:02}" for number in range(17)]
    assert {page.total for page in pages} == {17}
    assert [row["item_id"] for row in browser.find(query, offset, most).rows] == found[offset : offset + most]


PLACE: list[Path] = []
