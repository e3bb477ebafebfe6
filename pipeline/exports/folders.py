"""`sidecar`, `imagefolder` and `webdataset`: captions with, or beside, the images they are of.

A folder that exists and is not empty is refused, so that no file of somebody else is written over. Images come from
where the run found them; one that cannot be read any more is named and left out, and the rest go on.
"""

import io
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import ConfigError, ImageError
from pipeline.exports.captions import Caption, Captions
from pipeline.exports.naming import export_path, shard_key
from pipeline.exports.tables import as_json
from pipeline.images.local import read_local

__all__ = ["Originals", "new_folder", "write_imagefolder", "write_sidecars", "write_webdataset"]

logger = logging.getLogger(__name__)
SHARD_BYTES = 256 * 1024 * 1024
SHARD_ITEMS = 10_000
_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Originals:
    """Where the images of a dataset are: relative paths start at `root`; outside it and `allow_roots` none is read."""

    root: Path
    allow_roots: tuple[Path, ...] = ()

    def read(self, source: str) -> bytes | None:
        """The file's bytes; `None`, and a warning, where it is not a local file that can be read."""
        if "://" in source or source.startswith(("data:", "sha256:")):
            logger.warning("%s: left out, only local images are exported", source[:200])
            return None
        try:
            return read_local(source, self.root, self.allow_roots, _MOST_BYTES)
        except ImageError as error:
            logger.warning("left out: %s", error)
            return None


def new_folder(path: Path) -> Path:
    """A folder to export into.

    Raises:
        ConfigError: it exists and is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"-o {path}: exists already; name a new place, or remove it")
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_sidecars(captions: Captions, folder: Path, root: str) -> int:
    """One `.txt` a picture, named and nested like it; returns the number of items."""
    count = 0
    for one in captions:
        for source in one.images:
            _put(folder / export_path(source, root).with_suffix(".txt"), one.text.encode())
        count += 1
    return count


def write_imagefolder(captions: Captions, folder: Path, originals: Originals) -> int:
    """Images, and a `metadata.jsonl` with `file_name`, `caption`, `item_id` and the columns: Hugging Face's layout."""
    count = 0
    with (folder / "metadata.jsonl").open("x", encoding="utf-8") as lines:
        for one in captions:
            for place, raw in _pictures(one, originals):
                _put(folder / place, raw)
                line = {"file_name": str(place), "caption": one.text, "item_id": one.item_id}
                lines.write(f"{as_json({**one.columns, **line})}\n")
                count += 1
    return count


def write_webdataset(captions: Captions, folder: Path, originals: Originals) -> int:
    """Tars of at most `SHARD_BYTES` or `SHARD_ITEMS`; an item is `KEY.SUFFIX`, `KEY.txt` and `KEY.json`."""
    count = 0
    shard: tarfile.TarFile | None = None
    number = filled = held = 0
    try:
        for one in captions:
            pictures = list(_pictures(one, originals))
            if not pictures:
                continue
            if shard is None or filled > SHARD_BYTES or held >= SHARD_ITEMS:
                if shard is not None:
                    shard.close()
                shard = tarfile.open(folder / f"{number:05d}.tar", "x")  # noqa: SIM115 - several in turn
                number, filled, held = number + 1, 0, 0
            for name, raw in _members(one, pictures):
                info = tarfile.TarInfo(name)
                info.size = len(raw)
                shard.addfile(info, io.BytesIO(raw))
                filled += len(raw)
            held += 1
            count += 1
    finally:
        if shard is not None:
            shard.close()
    return count


def _pictures(one: Caption, originals: Originals) -> Iterator[tuple[PurePosixPath, bytes]]:
    for source in one.images:
        raw = originals.read(source)
        if raw is not None:
            yield export_path(source, str(originals.root)), raw


def _members(one: Caption, pictures: list[tuple[PurePosixPath, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Files of one item; several pictures are told by a number before their suffix."""
    key = shard_key(one.item_id)
    for index, (place, raw) in enumerate(pictures):
        suffix = place.suffix.lower() or ".jpg"
        yield f"{key}{f'.{index}' if index else ''}{suffix}", raw
    yield f"{key}.txt", one.text.encode()
    yield f"{key}.json", as_json({"item_id": one.item_id, "caption": one.text, **one.columns}).encode()


def _put(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
