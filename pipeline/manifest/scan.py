"""Folders and globs as manifests: image files in a stable order, streamed folder by folder."""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["IMAGE_SUFFIXES", "glob_root", "is_glob", "scan_folder", "scan_glob"]

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .gif .webp .tif .tiff .bmp .avif .jp2 .j2k .heic .heif".split()  # noqa: SIM905 - reads better
)
_MAGIC = frozenset("*?[")


def is_glob(path: str) -> bool:
    """Whether the text is a pattern and not the name of something that exists."""
    return any(character in _MAGIC for character in path) and not Path(path).exists()


def glob_root(pattern: str) -> Path:
    """The folder above the first part with a wildcard."""
    fixed = []
    for part in Path(pattern).parts:
        if any(character in _MAGIC for character in part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def scan_folder(root: Path) -> Iterator[str]:
    """Paths of the images below a folder, relative to it, with `/`; hidden files and folders are passed over."""
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield (Path(here) / name).relative_to(root).as_posix()


def scan_glob(pattern: str) -> Iterator[str]:
    """Files that match, relative to the pattern's fixed folder, with `/`, in order."""
    root = glob_root(pattern)
    rest = str(Path(pattern).relative_to(root)) if root.parts else pattern
    for path in sorted(root.glob(rest)):
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            yield path.relative_to(root).as_posix()
