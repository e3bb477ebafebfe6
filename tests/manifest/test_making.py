"""Making manifests: from folders, globs and buckets, in every format, ready to be read back."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.buckets import environment, filled_bucket

from pipeline.errors import ConfigError, ManifestError
from pipeline.manifest.making import MadeManifest, MakingSettings, Measured, make_manifest
from pipeline.manifest.producer import ManifestSettings, open_manifest

NAMES = ["b.jpg", "a.PNG", "deep/er/c.webp", 'odd, "name".jpg', "é ü.jpeg"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with some images and other files."""
    folder = tmp_path / "photos"
    for name in [*NAMES, "notes.txt", ".hidden.jpg", ".git/d.jpg"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def _measure(place: str) -> Measured:
    """Sizes that can be told apart; one image has none."""
    size = Path(place).stat().st_size
    return Measured() if place.endswith("c.webp") else Measured(size, 10 * size, size)


def _made(source: Path | str, output: Path, **options: bool) -> MadeManifest:
    return make_manifest(MakingSettings(str(source), output, **options), _measure)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_folder_becomes_rows_that_the_producer_reads(photos: Path, tmp_path: Path, suffix: str) -> None:
    """Ids are paths below the folder, images lie relative to the manifest, and every one is found where it says."""
    output = tmp_path / f"photos{suffix}"
    assert _made(photos, output) == MadeManifest(5, 0, 0, None)
    assert {(row["id"], row["image"]) for row in _rows(output)} == {(name, f"photos/{name}") for name in NAMES}
    with open_manifest(ManifestSettings(str(output))) as manifest:
        for item in (item for batch in manifest.batches() for item in batch):
            assert item.problem is None
            assert (manifest.root / item.images[0].source).read_bytes() == item.item_id.encode()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_sizes_are_columns_on_request(photos: Path, tmp_path: Path, suffix: str) -> None:
    """Bytes, width and height stand in each row, empty where they cannot be told; without asking there are none."""
    output = tmp_path / f"sized{suffix}"
    made = _made(photos, output, sizes=True)
    assert (made.rows, made.unmeasured) == (5, 1)
    rows = {row["id"]: row for row in _rows(output)}
    empty = "" if suffix == ".csv" else None
    assert [rows["deep/er/c.webp"][name] for name in ("bytes", "width", "height")] == [empty] * 3
    assert [int(rows["b.jpg"][name]) for name in ("bytes", "width", "height")] == [5, 50, 5]
    if suffix == ".parquet":
        assert [str(field.type) for field in pq.read_schema(output)] == ["string", "string", "int64", "int64", "int64"]
    _made(photos, tmp_path / "plain.csv")
    assert list(_rows(tmp_path / "plain.csv")[0]) == ["id", "image"]


def test_a_glob_takes_what_matches(photos: Path, tmp_path: Path) -> None:
    """Ids are relative to the folder in front of the first wildcard."""
    _made(f"{photos}/**/*.jp*g", tmp_path / "m.csv")
    assert {row["id"] for row in _rows(tmp_path / "m.csv")} == {"b.jpg", 'odd, "name".jpg', "é ü.jpeg"}


def test_images_beside_the_manifest_are_absolute_and_the_root_is_told(photos: Path, tmp_path: Path) -> None:
    """Where the images lie elsewhere, the caller learns what `manifest.root` has to be, and it works."""
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "elsewhere" / "m.csv"
    made = _made(photos, output)
    assert made.root == photos
    assert all(Path(row["image"]).is_relative_to(photos) for row in _rows(output))


@pytest.mark.parametrize("make", [None, "photos.txt", "photos"])
def test_a_source_without_images_is_an_error(tmp_path: Path, make: str | None) -> None:
    """No folder, a file, an empty folder: exit 2, and no output appears."""
    if make == "photos":
        (tmp_path / "photos").mkdir()
    elif make:
        (tmp_path / "photos").write_text("x")
    with pytest.raises(ManifestError, match="photos"):
        _made(tmp_path / "photos", tmp_path / "m.csv")
    assert not list(tmp_path.glob("*m.csv*"))


def test_what_is_there_is_replaced_by_force_alone(photos: Path, tmp_path: Path) -> None:
    """A second run is refused and changes nothing; with force the new rows take the old ones' place."""
    output = tmp_path / "m.csv"
    output.write_text("precious")
    with pytest.raises(ConfigError, match="--force"):
        _made(photos, output)
    assert output.read_text() == "precious"
    assert _made(photos, output, force=True).rows == 5
    assert len(_rows(output)) == 5


def test_force_on_a_source_without_images_keeps_the_old_file(tmp_path: Path) -> None:
    """A failure leaves what was there before."""
    (tmp_path / "m.csv").write_text("precious")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError):
        _made(tmp_path / "empty", tmp_path / "m.csv", force=True)
    assert (tmp_path / "m.csv").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["m.csv"]


def test_an_unknown_suffix_names_the_allowed_ones(photos: Path, tmp_path: Path) -> None:
    """The format is told by the suffix alone."""
    with pytest.raises(ConfigError, match=r"\.parquet"):
        _made(photos, tmp_path / "m.xlsx")


def test_an_output_folder_that_is_not_there_is_an_error(photos: Path, tmp_path: Path) -> None:
    """No folder is made by the way."""
    with pytest.raises(ManifestError, match="cannot be written"):
        _made(photos, tmp_path / "none" / "m.csv")


def test_names_that_no_manifest_can_hold_are_left_out_and_counted(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that is not UTF-8 costs itself, with a word in the log."""
    (photos / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"x")
    made = _made(photos, tmp_path / "m.parquet")
    assert (made.rows, made.skipped) == (5, 1)
    assert "UTF-8" in caplog.text


def test_a_separator_in_a_name_is_refused_where_it_would_part_it(photos: Path, tmp_path: Path) -> None:
    """In csv a `|` stands between images, so such a name goes into other formats alone."""
    (photos / "a|b.jpg").write_bytes(b"x")
    with pytest.raises(ManifestError, match=r"a\|b\.jpg"):
        _made(photos, tmp_path / "m.csv")
    assert _made(photos, tmp_path / "m.jsonl").rows == 6


def test_a_bucket_becomes_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image below the prefix is a row with its URL; other objects are passed over."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    many = {f"set/{index:04}.jpg": b"x" for index in range(40)}
    url = filled_bucket("manifest", {**many, "set/notes.txt": b"x", "settle/other.jpg": b"x"})

    def measure(place: str) -> Measured:
        return Measured(len(place), 1, 2)

    made = make_manifest(MakingSettings(f"{url}/set", tmp_path / "m.parquet", sizes=True), measure)
    assert (made.rows, made.root) == (40, None)
    first = _rows(tmp_path / "m.parquet")[0]
    place = f"{url}/set/0000.jpg"
    assert first == {"id": "0000.jpg", "image": place, "bytes": len(place), "width": 1, "height": 2}
    with pytest.raises(ManifestError, match="no image"):
        make_manifest(MakingSettings(f"{url}/none/", tmp_path / "n.csv"), measure)
    with pytest.raises(ManifestError, match="cannot be listed"):
        make_manifest(MakingSettings("s3://no-such-bucket", tmp_path / "n.csv"), measure)
