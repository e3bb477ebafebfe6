"""The demo's photographs: what `data/` promises, checked from the files themselves."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageOps

DATA = Path(__file__).parents[1] / "data"
PHOTOS = DATA / "photos"
FILES = sorted(path for path in PHOTOS.rglob("*") if path.is_file())
LICENCES = {"Public domain", "CC0", "CC BY 1.0", "CC BY 2.0", "CC BY 4.0"}

Row = dict[str, str | int | None]


def csv_rows() -> list[Row]:
    """The rows of the CSV, the year as a number or None."""
    with (DATA / "photos.csv").open(encoding="utf-8", newline="") as file:
        return [{**row, "year": int(row["year"]) if row["year"] else None} for row in csv.DictReader(file)]


def jsonl_rows(folder: Path = DATA) -> list[Row]:
    """The rows of the JSONL."""
    return [json.loads(line) for line in (folder / "photos.jsonl").read_text("utf-8").splitlines()]


def parquet_table(folder: Path = DATA) -> pa.Table:
    """The Parquet file, read whole."""
    return pq.read_table(folder / "photos.parquet")


def decodes(path: Path) -> bool:
    """Whether every pixel of the file can be decoded."""
    with Image.open(path) as image:
        try:
            image.load()
        except OSError:
            return False
    return True


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height as a viewer shows them."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).size


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none."""
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def is_see_through(image: Image.Image) -> bool:
    """Whether some pixels are transparent and others are not."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 255)


KINDS: dict[str, Callable[[Image.Image], bool]] = {
    "landscape": lambda image: image.width > image.height and orientation(image) <= 4,
    "portrait": lambda image: image.width < image.height and orientation(image) <= 4,
    "a quarter turn by EXIF": lambda image: orientation(image) in (6, 8),
    "upside down by EXIF": lambda image: orientation(image) == 3,
    "EXIF with a position": lambda image: len(image.getexif().get_ifd(ExifTags.IFD.GPSInfo)) >= 4,
    "PNG with transparent parts": lambda image: image.format == "PNG" and is_see_through(image),
    "PNG photograph": lambda image: image.format == "PNG" and image.mode == "RGB",
    "WebP": lambda image: image.format == "WEBP",
    "GIF": lambda image: image.format == "GIF",
    "CMYK JPEG with an Adobe marker": lambda image: image.mode == "CMYK" and "adobe" in image.info,
    "grey JPEG": lambda image: image.format == "JPEG" and image.mode == "L",
    "progressive JPEG": lambda image: "progressive" in image.info,
    "JPEG with an embedded profile": lambda image: image.format == "JPEG" and "icc_profile" in image.info,
    "over 12 megapixels": lambda image: image.width * image.height > 12_000_000,
    "under 200 px": lambda image: max(image.size) < 200,
}


@pytest.mark.parametrize("kind", KINDS)
def test_some_photograph_that_decodes_is_of_this_kind(kind: str) -> None:
    """Each kind that a captioner may stumble over is among the photographs."""
    found = []
    for path in FILES:
        with Image.open(path) as image:
            if KINDS[kind](image) and decodes(path):
                found.append(path)
    assert found


def test_about_two_dozen_photographs_take_less_than_six_megabytes() -> None:
    """A clone of the project stays small."""
    assert 20 <= len(FILES) <= 30
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 6_000_000


def test_the_large_photograph_is_compressed_hard() -> None:
    """What is over 12 megapixels takes less than half a bit a pixel."""
    for path in FILES:
        with Image.open(path) as image:
            pixels = image.width * image.height
        if pixels > 12_000_000:
            assert path.stat().st_size * 8 < pixels / 2


def test_exactly_one_photograph_is_corrupt() -> None:
    """The demo shows one failure: a file whose header is whole and whose pixels are not."""
    assert [path.relative_to(PHOTOS).as_posix() for path in FILES if not decodes(path)] == ["damaged.jpg"]


def test_a_quarter_turned_photograph_is_portrait_once_upright() -> None:
    """The picture on its side was taken upright, so a reader that drops the tag shows a wrong shape."""
    for path in FILES:
        with Image.open(path) as image:
            stored, turned = image.size, orientation(image) in (6, 8)
        if turned:
            assert stored[0] > stored[1]
            assert upright_size(path) == (stored[1], stored[0])


def test_no_photograph_is_there_twice() -> None:
    """Each file has its own bytes, so no demo item is answered by another's row."""
    assert len({sha256(path.read_bytes()).digest() for path in FILES}) == len(FILES)


def test_the_manifest_names_each_photograph_once() -> None:
    """The manifest's images are the files of the folder, all of them, each once."""
    named = [row["image"] for row in csv_rows()]
    assert sorted(map(str, named)) == [path.relative_to(DATA).as_posix() for path in FILES]


def test_ids_are_unique_and_titles_are_there() -> None:
    """Every row can be told from the others by its id and by its title."""
    rows = csv_rows()
    for column in ("id", "title"):
        assert all(row[column] for row in rows)
        assert len({row[column] for row in rows}) == len(rows)


def test_the_three_manifests_agree() -> None:
    """CSV, JSONL and Parquet hold the same columns and rows in the same order."""
    rows = csv_rows()
    assert jsonl_rows() == rows
    assert parquet_table().to_pylist() == rows
    assert [list(row) for row in jsonl_rows()] == [parquet_table().column_names] * len(rows)


def test_years_are_numbers_in_parquet() -> None:
    """The typed manifest has a column that is no text, with some of its values unknown."""
    table = parquet_table()
    assert table.schema.field("year").type == pa.int32()
    assert 0 < table["year"].null_count < table.num_rows


def test_the_script_writes_the_manifests_that_are_shipped(tmp_path: Path) -> None:
    """JSONL and Parquet are what `manifests.py` makes of the CSV."""
    subprocess.run([sys.executable, DATA / "manifests.py", tmp_path], check=True, capture_output=True)
    assert (tmp_path / "photos.jsonl").read_bytes() == (DATA / "photos.jsonl").read_bytes()
    assert parquet_table(tmp_path).equals(parquet_table())


def test_every_photograph_is_credited() -> None:
    """The README has one row per file, with the author and the licence that the manifest states, and the source."""
    table = re.findall(
        r"^\| `(photos/[^`]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$",
        (DATA / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    credits_of = {name: cells for name, *cells in table}
    assert len(credits_of) == len(table) == len(FILES)
    for row in csv_rows():
        author, licence, source, changes = credits_of[str(row["image"])]
        assert str(row["credit"]) in author
        assert licence.strip("[]").lower() == str(row["licence"]).lower()
        assert re.match(r"[GIKLS], `", source)
        assert changes


def test_licences_let_anyone_use_the_photographs() -> None:
    """Nothing is under terms that reach further than naming the author."""
    assert {row["licence"] for row in csv_rows()} <= LICENCES
