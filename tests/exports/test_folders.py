"""Folders and shards, from captions that are given."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.pictures import encoded, smooth

from pipeline.errors import ConfigError
from pipeline.exports.captions import Caption
from pipeline.exports.folders import Originals, new_folder, write_imagefolder, write_sidecars, write_webdataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures, and one outside."""
    place = tmp_path / "root"
    place.mkdir()
    for name in ("a.jpg", "b.JPG"):
        (place / name).write_bytes(encoded(smooth(40, 30, len(name))))
    (tmp_path / "outside.jpg").write_bytes(encoded(smooth(40, 30)))
    return place


def given(*images: str, item_id: str = "one") -> Any:
    """One caption of these images."""
    return [Caption(item_id, "the caption", images, {"title": "T"})]


def test_several_pictures_of_one_item_share_its_key(root: Path, tmp_path: Path) -> None:
    """The first has the plain key, the next ones a number before their suffix."""
    assert write_webdataset(given("a.jpg", "b.JPG"), new_folder(tmp_path / "out"), Originals(root)) == 1
    with tarfile.open(tmp_path / "out" / "00000.tar") as shard:
        assert shard.getnames() == ["one.jpg", "one.1.jpg", "one.txt", "one.json"]


def test_each_picture_of_an_item_gets_its_text(root: Path, tmp_path: Path) -> None:
    """Sidecars are for pictures, whoever's they are."""
    write_sidecars(given("a.jpg", "deep/er/b.JPG"), new_folder(tmp_path / "out"), str(root))
    assert (tmp_path / "out/a.txt").read_text() == (tmp_path / "out/deep/er/b.txt").read_text() == "the caption"


@pytest.mark.parametrize(
    "source", ["https://host.example/a.jpg", "data:image/png;base64,AAAA", "../outside.jpg", "gone.jpg"]
)
def test_what_is_no_file_under_the_root_is_named_and_left_out(
    root: Path, tmp_path: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No file from elsewhere comes into an export; the item's other picture does."""
    assert write_imagefolder(given(source, "a.jpg"), new_folder(tmp_path / "out"), Originals(root)) == 1
    assert "left out" in caplog.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "metadata.jsonl"]


def test_an_item_without_a_picture_makes_no_shard(root: Path, tmp_path: Path) -> None:
    """An empty tar helps nobody."""
    assert write_webdataset(given("gone.jpg"), new_folder(tmp_path / "out"), Originals(root)) == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """An empty one is taken, and one that is not there is made."""
    assert new_folder(tmp_path / "new" / "deep").is_dir()
    assert new_folder(tmp_path / "new" / "deep").is_dir()
    with pytest.raises(ConfigError, match="exists already"):
        new_folder(tmp_path / "new")
