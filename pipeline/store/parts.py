"""Parquet parts: written beside their place, synced, and moved in whole.

A reader that lists `part-*.parquet` therefore never sees a half-written file. The steps are those of every atomic
file: a temporary name in the same folder (which no reader's pattern matches), write, `fsync` of the file, `rename`,
`fsync` of the folder. A crash before the rename leaves a stray `.tmp-*`, which `sweep` removes at the next start; a
crash after it leaves the whole part. In an object store all of this is one put (see `buckets`). Pages carry checksums,
so that a reader knows a damaged part from a whole one.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, overload

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.buckets import BucketPath, Place, place_of
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

__all__ = [
    "Stamp",
    "folder",
    "is_whole",
    "list_parts",
    "listed",
    "made_folder",
    "opened_part",
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


def stamp_of(path: Place) -> Stamp | None:
    """The stamp of a part, `None` where there is no regular file."""
    if isinstance(path, BucketPath):
        told = path.known()
        return Stamp(told.bytes, told.version) if told else None
    if not path.is_file():
        return None
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns)


@overload
def folder(output: Path, kind: Kind) -> Path: ...


@overload
def folder(output: Place, kind: Kind) -> Place: ...


def folder(output: Place, kind: Kind) -> Place:
    """The folder of one table."""
    return place_of(output) / kind.value


def write_part(path: Place, schema: pa.Schema, tables: Iterable[pa.Table], compression: str) -> Stamp:
    """Publishes the tables, one after the other, as one part; durable and visible when this returns.

    Each table becomes a row group, so that memory is that of the largest one.

    Returns:
        the part's stamp.

    Raises:
        OSError: no space, no permission; nothing is visible then.
    """
    if isinstance(path, Path):
        made_folder(path.parent)
    dictionary = [column for column in _DICTIONARY if column in schema.names]
    options = {"compression": compression, "use_dictionary": dictionary, "write_page_checksum": True}
    with _replacing(path, 0o666) as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
    return stamp_of(path.parent / path.name) or Stamp(0)


def write_whole(path: Place, content: bytes, *, mode: int = 0o666) -> None:
    """Writes a small file atomically and durably.

    Raises:
        OSError: no space, no permission; what stood at `path` before still does.
    """
    if isinstance(path, BucketPath):
        path.write(content)
        return
    with _replacing(path, mode) as sink:
        sink.write(content)


@contextmanager
def _replacing(path: Place, mode: int) -> Iterator[IO[bytes]]:
    """A new file that takes its place when the block ends, and leaves no trace when the block fails."""
    if isinstance(path, BucketPath):
        with TemporaryFile(dir=made_folder(path.bucket.scratch, 0o700)) as sink:
            yield sink
            path.replace(sink)
        return
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


@overload
def list_parts(output: Path, kind: Kind) -> list[Path]: ...


@overload
def list_parts(output: Place, kind: Kind) -> Sequence[Place]: ...


def list_parts(output: Place, kind: Kind) -> Sequence[Place]:
    """The committed parts of one table, oldest name first."""
    return listed(folder(output, kind), "part-*.parquet")


@overload
def listed(place: Path, pattern: str) -> list[Path]: ...


@overload
def listed(place: Place, pattern: str) -> Sequence[Place]: ...


def listed(place: Place, pattern: str) -> Sequence[Place]:
    """What stands directly in a place under names like this, by name."""
    if isinstance(place, BucketPath):
        return sorted(place.glob(pattern))
    return sorted(place.glob(pattern))  # not the same line: sorted as paths


def opened_part(path: Place) -> pq.ParquetFile:
    """A part to be read, its pages checked as they are.

    Raises:
        OSError: it is gone, or cannot be read.
        pa.ArrowException: it is no Parquet file.
    """
    if isinstance(path, Path):
        return pq.ParquetFile(path, page_checksum_verification=True)
    return pq.ParquetFile(path.open(), page_checksum_verification=True, pre_buffer=True)


def is_whole(path: Place, columns: list[str] | None = None) -> bool:
    """Whether the file is a Parquet part, sound in every page, or in those of some columns."""
    if not path.is_file():
        return False
    try:
        with opened_part(path) as part:
            rows = 0
            for batch in part.iter_batches(_ROWS, columns=columns):
                batch.validate(full=True)
                rows += len(batch)
            return bool(rows == part.metadata.num_rows)
    except (OSError, pa.ArrowException, UnicodeDecodeError):  # the last: a name in the footer that is no text
        return False


def sweep(output: Place, shard: Shard | None = None) -> Iterator[Path]:
    """Removes the temporary files that a killed run left, and names them; for a shard its own alone.

    Others may be at work on theirs meanwhile, also on a part that they rewrite, whatever mark it has.
    """
    if isinstance(output, BucketPath):
        return  # there are none, see `buckets`
    places = [output / kind.value for kind in Kind]
    pattern = f"{_TEMPORARY}*"
    if shard is None:
        places += [output / "runs", output / "_state"]
    else:
        pattern = f"{_TEMPORARY}part-*-{shard.mark}-*"
    for place in places:
        for stray in place.glob(pattern):
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
