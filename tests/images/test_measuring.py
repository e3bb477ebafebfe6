"""Measuring: bytes, width and height as seen, from the head where that tells them."""

from pathlib import Path

import pytest
from support.buckets import environment, filled_bucket
from support.image_files import exif, jpeg_with, png_claiming, stored_for
from support.pictures import encoded, smooth

from pipeline.images.measuring import measurer
from pipeline.manifest.making import Measured
from pipeline.manifest.objects import ObjectStores

FILES = {
    "a.jpg": encoded(smooth(300, 200)),
    "turned.jpg": encoded(stored_for(6, 300, 200), exif=exif(6)),
    "laden.jpg": jpeg_with(encoded(smooth(300, 200)), 0xE2, *[bytes(60_000)] * 10),
    "a.png": encoded(smooth(300, 200), "PNG"),
    "noisy.webp": encoded(smooth(300, 200), "WEBP", lossless=True),
    "a.tif": encoded(smooth(900, 600).resize((300, 200)), "TIFF"),
    "a.avif": encoded(smooth(300, 200), "AVIF"),
    "a.jp2": encoded(smooth(300, 200), "JPEG2000"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_measured_as_they_are_seen(tmp_path: Path, name: str) -> None:
    """Every format gives its size as seen after turning, and its bytes."""
    (tmp_path / name).write_bytes(FILES[name])
    assert measurer(ObjectStores())(str(tmp_path / name)) == Measured(len(FILES[name]), 300, 200)


def test_a_large_file_is_measured_by_its_head(tmp_path: Path) -> None:
    """A file whose pixels are missing after the first megabyte still has a size: nothing is decoded."""
    (tmp_path / "a.png").write_bytes(
        encoded(smooth(2000, 1500), "PNG", compress_level=0)[:1_000_000] + bytes(200_000_000)
    )
    assert measurer(ObjectStores())(str(tmp_path / "a.png")) == Measured(201_000_000, 2000, 1500)


def test_the_size_of_a_bomb_is_what_it_claims(tmp_path: Path) -> None:
    """What a run would refuse as too large is told to the manifest's reader, without decoding it."""
    (tmp_path / "a.png").write_bytes(png_claiming(30_000, 20_000))
    measured = measurer(ObjectStores())(str(tmp_path / "a.png"))
    assert (measured.width, measured.height) == (30_000, 20_000)


def test_what_cannot_be_measured_has_no_size(tmp_path: Path) -> None:
    """Not an image: its bytes alone; not there, a folder, a link that leads out, a bucket without settings: nothing."""
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    measure = measurer(ObjectStores({}))
    assert measure(str(tmp_path / "text.jpg")) == Measured(8)
    for place in (tmp_path / "none.jpg", tmp_path, tmp_path / "link.jpg"):
        assert measure(str(place)) == Measured()
    assert measure("az://container-that-is-not/a.jpg") == Measured()


def test_objects_are_measured_like_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a bucket the same sizes come, and none for what is not there."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    url = filled_bucket("measured", FILES)
    measure = measurer(ObjectStores())
    for name, raw in FILES.items():
        assert measure(f"{url}/{name}") == Measured(len(raw), 300, 200)
    assert measure(f"{url}/none.jpg") == Measured()
