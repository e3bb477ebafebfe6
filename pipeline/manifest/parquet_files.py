"""A manifest of many Parquet files: those of a folder, at any depth, or of a glob, in the order of their paths.

One is open at a time, and none before its turn, so a hundred thousand files begin as quickly as one. Columns may differ
from file to file, as long as each has those of id and images; what a file lacks is missing from its rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from glob import iglob
from os import scandir
from pathlib import Path

from pipeline.errors import ManifestError
from pipeline.manifest.opened import Layout, ManifestSettings, Opened
from pipeline.manifest.scan import IMAGE_SUFFIXES, glob_root, is_glob
from pipeline.manifest.tables import open_parquet
from pipeline.records import Item

__all__ = ["open_parquet_files", "parquet_files"]

_SUFFIXES = (".parquet", ".pq")


def parquet_files(settings: ManifestSettings) -> list[Path] | None:
    """The files that make up the manifest, `None` where it is something else.

    A folder is such a dataset where `manifest.format` says `parquet`, or where it holds Parquet files and no images; a
    glob likewise, or where it ends in the suffix. Names that begin with `.` or `_` are left out, as by other readers.

    Raises:
        ManifestError: it is one by its settings, and has no file.
    """
    if settings.path == "-" or settings.format not in ("auto", "parquet") or "://" in settings.path:
        return None
    place = Path(settings.path)
    try:
        if place.is_dir():
            is_one = settings.format == "parquet" or _has_tables(place)
            found = (path for path in place.rglob("*") if _is_table(path.relative_to(place)))
        elif is_glob(settings.path) and not place.exists():
            is_one = settings.format == "parquet" or settings.path.lower().endswith(_SUFFIXES)
            found = (Path(name) for name in iglob(settings.path, recursive=True))  # noqa: PTH207 - the glob may be absolute
        else:
            return None
        files = sorted(path for path in found if path.is_file()) if is_one else []
    except OSError as error:
        raise ManifestError(f"{settings.path}: cannot be read: {error.strerror}") from error
    if is_one and not files:
        raise ManifestError(f"{settings.path}: no Parquet file ({', '.join(_SUFFIXES)})")
    return files if is_one else None


def open_parquet_files(files: list[Path], layout: Layout) -> Opened:
    """The rows of these files, one file after the other.

    Raises:
        ManifestError: the first is damaged or lacks a column; of a later one it is raised when its turn comes.
    """
    root = glob_root(layout.settings.path) if is_glob(layout.settings.path) else Path(layout.settings.path)
    with ExitStack() as look:
        columns = _opened(files[0], root, layout, look).columns

    def batches() -> Iterator[Sequence[Item]]:
        for path in files:
            with ExitStack() as stack:
                yield from _opened(path, root, layout, stack).batches

    return Opened(columns, batches(), complete=len(files) == 1)


def _opened(path: Path, root: Path, layout: Layout, stack: ExitStack) -> Opened:
    name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    try:
        stream = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return open_parquet(stream, replace(layout, name=name), stack)


def _has_tables(place: Path) -> bool:
    """Whether a folder holds Parquet files, and no images beside them."""
    with scandir(place) as entries:
        suffixes = {Path(entry.name).suffix.lower() for entry in entries if _is_shown(entry.name)}
    return bool(suffixes.intersection(_SUFFIXES)) and not suffixes & IMAGE_SUFFIXES


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and all(map(_is_shown, path.parts))


def _is_shown(name: str) -> bool:
    return not name.startswith((".", "_"))
