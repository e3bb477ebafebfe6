"""Of which image bytes items were answered, read back from the parts."""

from pathlib import Path

import pytest
from support.datasets import failed, write_run

from pipeline.errors import ItemError, OutputError
from pipeline.records import ImageRecord, Item, Outcome
from pipeline.store.answered import AnsweredImages
from pipeline.store.keys import item_key


def about(item_id: str, *hashes: str | None, is_failure: bool = False) -> Outcome:
    """An outcome of an item with images of these hashes."""
    images = tuple(ImageRecord(f"{number}.jpg", sha256=one) for number, one in enumerate(hashes))
    error = ItemError("refusal", "no") if is_failure else None
    return Outcome(Item(item_id, ()), images, error=error, caption="c")


def test_the_newest_row_of_an_item_counts(tmp_path: Path) -> None:
    """Over results and failures, under the fingerprint that is asked for."""
    write_run(tmp_path, [about("a", "one", "two"), about("b", "x"), about("c", "x")])
    write_run(tmp_path, [about("b", "y", is_failure=True)], run_id="run-2")
    write_run(tmp_path, [about("c", "z")], run_id="run-3", fingerprint="f2")
    with AnsweredImages(tmp_path, "f1", tmp_path / "_state") as images:
        assert images.hashes(item_key("a")) == ["one", "two"]
        assert images.hashes(item_key("b")) == ["y"]
        assert images.hashes(item_key("c")) == ["x"]
        assert images.hashes(item_key("nobody")) is None
    with AnsweredImages(tmp_path, "f2", tmp_path / "_state") as images:
        assert images.hashes(item_key("c")) == ["z"]


def test_an_image_that_was_not_reached_has_no_hash(tmp_path: Path) -> None:
    """So it is equal to no bytes."""
    write_run(tmp_path, [failed("a")])
    with AnsweredImages(tmp_path, "f1", tmp_path / "_state") as images:
        assert images.hashes(item_key("a")) == [None]


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    """The list has no name from the first moment on."""
    write_run(tmp_path, [about("a", "one")])
    before = sorted(tmp_path.rglob("*"))
    with AnsweredImages(tmp_path, "f1", tmp_path / "_state"):
        assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_an_error_of_the_output(tmp_path: Path) -> None:
    """It is found before anything is sent."""
    with pytest.raises(OutputError, match="cannot be written"):
        AnsweredImages(tmp_path, "f1", tmp_path / "gone")
