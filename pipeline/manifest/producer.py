"""The manifest opened: which format it is, which columns it has, and its items in batches.

Memory is bounded by a batch, whatever the manifest's length. Nothing here looks at an image. A manifest may be an
object in a bucket, which is read in parts, or a bucket's prefix, written with `/` at its end, whose images it is then.
"""

import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BufferedIOBase, BufferedReader
from itertools import chain
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from pipeline.errors import ManifestError
from pipeline.manifest.batches import open_csv, open_jsonl, open_references, txt_references
from pipeline.manifest.object_files import opened_object
from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError, is_object_url
from pipeline.manifest.opened import Layout, ManifestSettings, Opened
from pipeline.manifest.parquet_files import open_parquet_files, parquet_files
from pipeline.manifest.scan import IMAGE_SUFFIXES, glob_root, is_glob, scan_folder, scan_glob
from pipeline.manifest.tables import open_arrow, open_parquet
from pipeline.manifest.texts import Lines
from pipeline.records import Item
from pipeline.urls import masked_url

__all__ = ["Manifest", "ManifestSettings", "open_manifest"]

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "txt",
}
_WEB = ("http://", "https://")


class Manifest:
    """An open manifest; a context manager. Made by `open_manifest`.

    Attributes:
        columns: the names of its columns.
        columns_complete: whether `columns` are all there can be; false for a long jsonl file, whose later rows may
            bring more.
        root: where relative image paths start by default: a folder, on disk or in a bucket.
    """

    def __init__(self, opened: Opened, root: Path | ObjectUrl, stack: ExitStack) -> None:
        self._batches = opened.batches
        self._stack = stack
        self.columns = opened.columns
        self.columns_complete = opened.complete
        self.root = root

    def __enter__(self) -> Self:
        """Nothing to do: `open_manifest` has opened it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self._batches = iter(())
        self._stack.close()

    def batches(self) -> Iterator[Sequence[Item]]:
        """The items, in order, at most `BATCH_ROWS` at a time; once. Of large files they are lazy (see `glance`).

        Raises:
            ManifestError: the file is damaged further on.
        """
        return self._batches


def open_manifest(settings: ManifestSettings, stdin: BufferedIOBase | None = None) -> Manifest:
    """The manifest, its columns checked and its first batch read.

    Args:
        settings: what is opened.
        stdin: what `-` reads, by default the standard input.

    Raises:
        ManifestError: it is missing, unreadable, of an unknown format, without a row, or lacks a column.
    """
    with ExitStack() as stack:
        files = parquet_files(settings)
        kind = _kind(settings) if files is None else "directory" if Path(settings.path).is_dir() else "glob"
        name = "standard input" if settings.path == "-" else Path(settings.path).name or settings.path
        layout = Layout(settings, name)
        if files is not None:
            opened = open_parquet_files(files, layout)
        elif kind in ("directory", "glob"):
            opened = _open_scan(kind, layout)
        else:
            opened = _open_stream(kind, _stream(settings, stdin, stack), layout, stack)
        first = next(opened.batches, None)
        if first is None:
            searched = f": no image file ({', '.join(sorted(IMAGE_SUFFIXES))})" if kind in ("directory", "glob") else ""
            raise ManifestError(f"{settings.path}: the manifest has no rows{searched}")
        batches = chain([first], opened.batches)
        return Manifest(Opened(opened.columns, batches, opened.complete), _root(settings.path, kind), stack.pop_all())


def _open_scan(kind: str, layout: Layout) -> Opened:
    path = layout.settings.path
    if is_object_url(path):
        return open_references(_listed(path), layout)
    if kind == "glob" and not glob_root(path).is_dir():
        raise ManifestError(f"{path}: no such folder: {glob_root(path)} (working directory: {Path.cwd()})")
    return open_references(scan_folder(Path(path)) if kind == "directory" else scan_glob(path), layout)


def _listed(path: str) -> Iterator[tuple[str, str]]:
    """The images below a bucket's prefix, as `scan_folder` has those of a folder."""
    folder = _object(path)
    try:
        for key, _ in ObjectStores().listed(folder):
            if PurePosixPath(key).suffix.lower() in IMAGE_SUFFIXES:
                name = key.removeprefix(folder.key)
                yield name, name
    except StoreError as error:
        raise ManifestError(f"{path}: {error}") from error


def _open_stream(kind: str, stream: BufferedReader, layout: Layout, stack: ExitStack) -> Opened:
    if kind == "parquet":
        return open_parquet(_seekable(stream, layout.name, stack), layout, stack)
    if kind == "arrow":
        return open_arrow(_seekable(stream, layout.name, stack), layout, stack)
    lines = Lines(stream, layout.name)
    if kind == "jsonl":
        return open_jsonl(lines, layout)
    if kind == "txt":
        return open_references(txt_references(lines), layout)
    return open_csv(lines, layout, "," if kind == "csv" else "\t")


def _stream(settings: ManifestSettings, stdin: BufferedIOBase | None, stack: ExitStack) -> BufferedReader:
    try:
        if is_object_url(settings.path):
            return stack.enter_context(opened_object(ObjectStores(), _object(settings.path)))
        if settings.path != "-":
            return stack.enter_context(Path(settings.path).open("rb"))
        given = stdin or sys.stdin.buffer
        if not isinstance(given, BufferedReader):
            given = BufferedReader(given)
            stack.callback(given.detach)
        head = given.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
    except StoreError as error:
        raise ManifestError(f"{settings.path}: {error}") from error
    except OSError as error:
        raise ManifestError(f"{settings.path}: cannot be read: {error.strerror}") from error
    if settings.format == "auto" and head and not head.startswith(b"{"):
        raise ManifestError("standard input: does not begin as jsonl, which is assumed; set manifest.format")
    return given


def _seekable(stream: BufferedReader, name: str, stack: ExitStack) -> IO[bytes]:
    """The stream, copied to a temporary file where it comes through a pipe."""
    try:
        if stream.seekable() and stream.tell() == 0:
            return stream
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack is its context
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
    except OSError as error:
        raise ManifestError(f"{name}: cannot be read: {error.strerror}") from error
    return copy


def _kind(settings: ManifestSettings) -> str:
    path, kind = settings.path, settings.format
    if path.lower().startswith(_WEB):
        raise ManifestError(f"{masked_url(path)}: manifests are read from disk and from buckets; copy it there first")
    if is_object_url(path):
        return _object_kind(path, kind)
    if path == "-":
        if kind in ("directory", "glob"):
            raise ManifestError(f'standard input, and manifest.format = "{kind}"')
        return "jsonl" if kind == "auto" else kind
    mode = _mode(path)
    if kind == "auto":
        kind = _format(path, mode)
    if mode is None and kind != "glob":
        raise ManifestError(f"{path}: no such manifest (working directory: {Path.cwd()})")
    is_folder = mode is not None and stat.S_ISDIR(mode)
    if kind != "glob" and is_folder != (kind == "directory"):
        raise ManifestError(f'{path}: {"a" if is_folder else "not a"} directory, and manifest.format = "{kind}"')
    return kind


def _object_kind(path: str, kind: str) -> str:
    url = _object(path)
    is_folder = url.key == "" or url.key.endswith("/")
    if kind == "glob":
        raise ManifestError(f'{path}: manifest.format = "glob"; in a bucket allowed: an object, or a prefix with "/"')
    if kind == "auto":
        return "directory" if is_folder else _by_suffix(path, 'or "/" at the end for a prefix, ')
    if is_folder != (kind == "directory"):
        raise ManifestError(f'{path}: {"a" if is_folder else "not a"} prefix, and manifest.format = "{kind}"')
    return kind


def _object(path: str) -> ObjectUrl:
    try:
        return ObjectUrl.parse(path)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None


def _mode(path: str) -> int | None:
    """What stands at a path, `None` where nothing does."""
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path[:300]!r}: cannot be read: {getattr(error, 'strerror', error)}") from error


def _format(path: str, mode: int | None) -> str:
    if mode is None and is_glob(path):
        return "glob"
    if mode is not None and stat.S_ISDIR(mode):
        return "directory"
    return _by_suffix(path)


def _by_suffix(path: str, beside: str = "") -> str:
    found = _FORMATS.get(PurePosixPath(path).suffix.lower())
    if found is None:
        allowed = ", ".join(sorted(_FORMATS))
        raise ManifestError(f"{path}: the suffix tells no format; allowed: {allowed}, {beside}or set manifest.format")
    return found


def _root(path: str, kind: str) -> Path | ObjectUrl:
    if is_object_url(path):
        return _object(path).parent
    if path == "-":
        return Path.cwd()
    if kind == "directory":
        return Path(path).absolute()
    return glob_root(path).absolute() if kind == "glob" else Path(path).absolute().parent
