"""Small pictures for pages whose dataset has none."""

from pathlib import Path
from typing import Any

from support.pictures import save_quadrants

from pipeline.exports.folders import Originals
from pipeline.faces.thumbnails import MOST_MADE, add_thumbnails


def row(source: str, thumbnail: str = "") -> dict[str, Any]:
    """A row of the gallery, as far as pictures go."""
    return {"sources": [source] if source else [], "thumbnail": thumbnail}


def test_pictures_come_from_inside_the_root(tmp_path: Path) -> None:
    """What is outside, remote, broken or gone has none, and what has one keeps it."""
    save_quadrants(tmp_path / "root" / "good.jpg")
    save_quadrants(tmp_path / "secret.jpg")
    (tmp_path / "root" / "broken.jpg").write_bytes(b"\xff\xd8\xffnothing")
    names = ("good.jpg", "../secret.jpg", "broken.jpg", "gone.jpg", "https://host.example/x.jpg", "sha256:00", "")
    rows = [row(name) for name in names] + [row("good.jpg", "data:x")]
    add_thumbnails(rows, Originals(tmp_path / "root"), 1_000_000)
    assert [bool(one["thumbnail"]) for one in rows] == [True, *[False] * 6, True]
    assert rows[0]["thumbnail"].startswith("data:image/webp;base64,")
    assert rows[-1]["thumbnail"] == "data:x"


def test_they_stay_within_their_room(tmp_path: Path) -> None:
    """No more characters and no more pictures than the page takes."""
    save_quadrants(tmp_path / "good.jpg")
    first = row("good.jpg")
    add_thumbnails([first], Originals(tmp_path), 1_000_000)
    size = len(first["thumbnail"])
    rows = [row("good.jpg") for _ in range(5)]
    add_thumbnails(rows, Originals(tmp_path), 2 * size + 1)
    assert [bool(one["thumbnail"]) for one in rows] == [True, True, False, False, False]
    many = [row("gone.jpg") for _ in range(MOST_MADE)] + [row("good.jpg")]
    add_thumbnails(many, Originals(tmp_path), 1_000_000)
    assert not many[-1]["thumbnail"]
