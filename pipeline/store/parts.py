"""Parquet parts: written beside their place, synced, and moved in whole.

A reader that lists `part-*.parquet` therefore never sees a half-written file. The steps are those of every atomic
file: a temporary name in the same folder (which no reader's pattern matches), write, `fsync` of the file, `rename`,
`fsync` of the folder. A crash before the rename leaves a stray `.tmp-*`, which `sweep` removes at the next start; a
crash after it leaves the whole part.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.schema import Kind

__all__ = ["folder", "is_whole", "list_parts", "sweep", "sync_folder", "write_part", "write_whole"]

_TEMPORARY = ".tmp-"
_DICTIONARY = ["fingerprint", "run_id", "stop_reason", "model", "mode", "error_type", "service_tier", "batch_id"]


def folder(output: Path, kind: Kind) -> Path:
    """The folder of one table."""
    return output / kind.value


def write_part(output: Path, kind: Kind, name: str, table: pa.Table, compression: str) -> Path:
    """Publishes `table` as part `name`; durable and visible when this returns.

    Raises:
        OSError: no space, no permission; nothing is visible then.
    """
    place = folder(output, kind)
    place.mkdir(exist_ok=True)
    temporary = place / f"{_TEMPORARY}{name}"
    with temporary.open("wb") as sink:
        dictionary = [column for column in _DICTIONARY if column in table.column_names]
        codec = "none" if compression == "none" else compression
        pq.write_table(table, sink, compression=codec, use_dictionary=dictionary)
        sink.flush()
        os.fsync(sink.fileno())
    target = place / name
    temporary.rename(target)
    sync_folder(place)
    return target


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file atomically and durably."""
    temporary = path.with_name(_TEMPORARY + path.name)
    with temporary.open("wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def list_parts(output: Path, kind: Kind) -> list[Path]:
    """The committed parts of one table, oldest name first."""
    return sorted(folder(output, kind).glob("part-*.parquet"))


def is_whole(path: Path) -> bool:
    """Whether the file is a readable Parquet part."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def sweep(output: Path) -> Iterator[Path]:
    """Removes the temporary files that a killed run left, and names them."""
    for kind in Kind:
        for stray in folder(output, kind).glob(f"{_TEMPORARY}*"):
            stray.unlink(missing_ok=True)
            yield stray


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
