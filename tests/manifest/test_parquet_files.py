"""Manifests of many Parquet files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ManifestError
from pipeline.manifest.opened import ManifestSettings
from pipeline.manifest.parquet_files import parquet_files
from pipeline.manifest.producer import open_manifest


def written(path: Path, *ids: str, **more: list[object]) -> Path:
    """A Parquet file with these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(ids), "image": [f"{one}.jpg" for one in ids], **more}), path)
    return path


def ids(path: str | Path, **settings: str) -> list[str]:
    """The ids of a manifest, in order."""
    with open_manifest(ManifestSettings(str(path), **settings)) as manifest:
        return [item.item_id for batch in manifest.batches() for item in batch]


def test_the_files_of_a_folder_are_one_manifest(tmp_path: Path) -> None:
    """In the order of their paths, at any depth; hidden and private ones are left out."""
    for name, one in (("b.parquet", "b"), ("year=2/x.PQ", "y"), ("a.parquet", "a"), ("_tmp/z.parquet", "z")):
        written(tmp_path / name, one)
    written(tmp_path / ".hidden.parquet", "h")
    (tmp_path / "_SUCCESS").touch()
    assert ids(tmp_path) == ["a", "b", "y"]
    with open_manifest(ManifestSettings(str(tmp_path))) as manifest:
        assert manifest.root == tmp_path
        assert (manifest.columns, manifest.columns_complete) == (("id", "image"), False)


def test_a_glob_of_parquet_files_is_one_manifest(tmp_path: Path) -> None:
    """By its suffix, or because it is said to be one."""
    written(tmp_path / "2.parquet", "two")
    written(tmp_path / "1.parquet", "one")
    written(tmp_path / "more" / "3.table", "three")
    assert ids(tmp_path / "*.parquet") == ["one", "two"]
    assert ids(tmp_path / "**" / "*.t*", format="parquet") == ["three"]


def test_a_folder_of_images_stays_one(tmp_path: Path) -> None:
    """A table beside the images does not make it another manifest, unless that is asked for."""
    (tmp_path / "cat.jpg").touch()
    written(tmp_path / "notes.parquet", "a")
    assert parquet_files(ManifestSettings(str(tmp_path))) is None
    assert ids(tmp_path, format="parquet") == ["a"]
    assert parquet_files(ManifestSettings(str(tmp_path / "*.jpg"))) is None
    assert parquet_files(ManifestSettings("-", format="parquet")) is None


def test_columns_may_differ_from_file_to_file(tmp_path: Path) -> None:
    """Each row has those of its own file."""
    written(tmp_path / "1.parquet", "a", title=["A"])
    written(tmp_path / "2.parquet", "b", year=[2])
    with open_manifest(ManifestSettings(str(tmp_path))) as manifest:
        rows = [item.columns for batch in manifest.batches() for item in batch]
    assert [(row.get("title"), row.get("year")) for row in rows] == [("A", None), (None, 2)]


def test_what_is_wrong_names_the_file(tmp_path: Path) -> None:
    """The first file's faults are found at once, a later one's when its turn comes."""
    with pytest.raises(ManifestError, match=r"no Parquet file \(\.parquet, \.pq\)"):
        ids(tmp_path, format="parquet")
    written(tmp_path / "1.parquet", "a")
    (tmp_path / "2.parquet").write_bytes(b"no table")
    with open_manifest(ManifestSettings(str(tmp_path))) as manifest:
        batches = manifest.batches()
        assert [item.item_id for item in next(batches)] == ["a"]
        with pytest.raises(ManifestError, match=r"2\.parquet: cannot be read"):
            next(batches)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "0.parquet")
    with pytest.raises(ManifestError, match=r'0\.parquet: no column "image"'):
        ids(tmp_path)
