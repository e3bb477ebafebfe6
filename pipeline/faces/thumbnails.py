"""Small pictures for pages whose dataset has none: made from the originals, where those are local and still there.

They are read as an export reads them: inside the roots of the run, and nowhere else.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import Any

from pipeline.errors import ImageError
from pipeline.exports.folders import Originals
from pipeline.faces.gallery import data_uri
from pipeline.images.local import read_local
from pipeline.images.prepare import PrepareSettings, prepare

__all__ = ["MOST_MADE", "add_thumbnails"]

MOST_MADE = 300
"""Pictures that are made for one page: a few seconds of work."""
_EDGE_PX = 240
_MOST_BYTES = 50_000_000
_MOST_PIXELS = 50_000_000
_SETTINGS = PrepareSettings(
    max_bytes=_MOST_BYTES, max_pixels=_MOST_PIXELS, max_side_px=_EDGE_PX, thumbnail_edge=_EDGE_PX, quality=75
)


def add_thumbnails(rows: Iterable[dict[str, Any]], originals: Originals, room: int) -> None:
    """Gives rows of the gallery that have no `thumbnail` one, of their first source.

    Args:
        rows: the first `MOST_MADE` of them that have none get one.
        originals: where the pictures are.
        room: characters that the pictures may take in the page, all together.
    """
    lacking = [row for row in rows if not row["thumbnail"] and row["sources"]][:MOST_MADE]
    with ThreadPoolExecutor(cpu_count() or 1) as workers:
        made = workers.map(lambda row: _made(row["sources"][0], originals), lacking)
        for row, picture in zip(lacking, made, strict=True):
            room -= len(picture)
            if room >= 0:
                row["thumbnail"] = picture


def _made(source: str, originals: Originals) -> str:
    """A `data:` URI; empty where the source is no local picture that can be read."""
    if source.startswith(("data:", "sha256:")) or ("://" in source and not source.startswith("file:")):
        return ""
    try:
        raw = read_local(source, originals.root, originals.allow_roots, _MOST_BYTES)
        return data_uri(prepare(source, raw, _SETTINGS).thumbnail)
    except ImageError:
        return ""
