"""Parquet parts: written beside their place, synced, and moved in whole.

A reader that lists `part-*.parquet` therefore never sees a half-written file. The steps are those of every atomic
file: a temporary name in the same folder (which no reader's pattern matches), write, `fsync` of the file, `rename`,
`fsync` of the folder. A crash before the rename leaves a stray `.tmp-*`, which `sweep` removes at the next start; a
crash after it leaves the whole part. Pages carry checksums, so that a reader knows a damaged part from a whole one.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.schema import Kind

__all__ = [
    "Stamp",
    "folder",
    "is_whole",
    "list_parts",
    "made_folder",
    "stamp_of",
    "sweep",
    "sync_folder",
    "write_part",
    "write_whole",
]

_TEMPORARY = ".tmp-"
_DICTIONARY = ["fingerprint", "run_id", "stop_reason", "model", "mode", "error_type", "service_tier", "batch_id"]
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells at a glance that a part is as it was written.

    Attributes:
        changed_ns: when its file was last written, as the file system keeps it; 0 where that is not known.
    """

    bytes: int
    changed_ns: int = 0


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a part, `None` where there is no regular file."""
    if not path.is_file():
        return None
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns)


def folder(output: Path, kind: Kind) -> Path:
    """The folder of one table."""
    return output / kind.value


def write_part(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], compression: str) -> Stamp:
    """Publishes the tables, one after the other, as one part; durable and visible when this returns.

    Each table becomes a row group, so that memory is that of the largest one.

    Returns:
        the part's stamp.

    Raises:
        OSError: no space, no permission; nothing is visible then.
    """
    made_folder(path.parent)
    dictionary = [column for column in _DICTIONARY if column in schema.names]
    options = {"compression": compression, "use_dictionary": dictionary, "write_page_checksum": True}
    with _replacing(path, 0o666) as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns)


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Writes a small file atomically and durably.

    Raises:
        OSError: no space, no permission; what stood at `path` before still does.
    """
    with _replacing(path, mode) as sink:
        sink.write(content)


@contextmanager
def _replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A new file that takes its place when the block ends, and leaves no trace when the block fails."""
    temporary = path.with_name(_TEMPORARY + path.name)
    temporary.unlink(missing_ok=True)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def list_parts(output: Path, kind: Kind) -> list[Path]:
    """The committed parts of one table, oldest name first."""
    return sorted(folder(output, kind).glob("part-*.parquet"))


def is_whole(path: Path) -> bool:
    """Whether the file is a Parquet part, sound in every page."""
    if not path.is_file():
        return False
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as part:
            rows = 0
            for batch in part.iter_batches(_ROWS):
                batch.validate(full=True)
                rows += len(batch)
            return bool(rows == part.metadata.num_rows)
    except (OSError, pa.ArrowException, UnicodeDecodeError):  # the last: a name in the footer that is no text
        return False


def sweep(output: Path) -> Iterator[Path]:
    """Removes the temporary files that a killed run left, and names them."""
    for place in (*(folder(output, kind) for kind in Kind), output / "runs", output / "_state"):
        for stray in place.glob(f"{_TEMPORARY}*"):
            stray.unlink(missing_ok=True)
            yield stray


def made_folder(path: Path, mode: int = 0o777) -> Path:
    """The folder, made durably where there is none, and its parents likewise."""
    if not path.is_dir():
        made_folder(path.parent)
        path.mkdir(mode, exist_ok=True)
        sync_folder(path.parent)
    return path


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
