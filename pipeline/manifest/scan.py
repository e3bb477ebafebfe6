"""Folders and globs as manifests: image files in a stable order, streamed folder by folder.

Only the names of one folder are held at a time. Links to folders are not followed, since they may lead round in
circles or out of the root, and are named in the log; hidden files and folders are passed over, as in a shell, unless
the pattern spells the dot out.
"""

import logging
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.manifest.texts import BadRow

__all__ = ["IMAGE_SUFFIXES", "glob_root", "is_glob", "scan_folder", "scan_glob"]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .webp .tif .tiff .bmp .avif .jp2 .j2k .heic .heif".split()  # noqa: SIM905 - reads better
)
_MAGIC = frozenset("*?[")


def is_glob(path: str) -> bool:
    """Whether the text has the characters of a pattern."""
    return not _MAGIC.isdisjoint(path)


def glob_root(pattern: str) -> Path:
    """The folder above the first part with a wildcard, or above the last part where none has."""
    return _split(pattern)[0]


def scan_folder(root: Path) -> Iterator[tuple[str, str | BadRow]]:
    """The images below a folder: paths relative to it, with `/`, each twice, as its place and as its reference.

    A folder that cannot be listed is a bad row.
    """
    return _walk(root, _is_image, lambda folder: not _is_hidden(_name(folder)))


def scan_glob(pattern: str) -> Iterator[tuple[str, str | BadRow]]:
    """Files that match, relative to the pattern's fixed folder, with `/`; `**` stands for any number of folders.

    They are images by their suffix, or of whatever suffix the pattern spells out.
    """
    root, parts = _split(pattern)
    if parts[-1] == "**":
        parts = [*parts, "*"]
    suffix = Path(parts[-1]).suffix
    spelt = suffix != "" and not is_glob(suffix)
    return _walk(
        root,
        lambda path: (spelt or _has_image_suffix(path)) and _matches(path.split("/"), parts),
        lambda folder: _may_lead_on(folder.split("/"), parts),
    )


def _walk(
    root: Path, wanted: Callable[[str], bool], entered: Callable[[str], bool]
) -> Iterator[tuple[str, str | BadRow]]:
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            files, folders = _listed(root, folder)
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror}"
            yield folder or ".", BadRow(1, f"{folder}/".encode("utf-8", "surrogatepass"), reason)
            continue
        yield from ((path, path) for path in sorted(files) if wanted(path))
        waiting.extend(sorted(filter(entered, folders), reverse=True))


def _listed(root: Path, folder: str) -> tuple[list[str], list[str]]:
    files, folders = [], []
    above = f"{folder}/" if folder else ""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            path = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and (root / path).is_dir():
                logger.warning("%s: a link to a folder, not followed", root / path)
            else:
                files.append(path)
    return files, folders


def _split(pattern: str) -> tuple[Path, list[str]]:
    parts = list(Path(pattern).parts)
    fixed = next((index for index, part in enumerate(parts) if is_glob(part)), len(parts) - 1)
    return Path(*parts[:fixed]), parts[fixed:]


def _matches(names: list[str], parts: list[str]) -> bool:
    """Whether a path, name by name, matches a pattern, part by part.

    Follows all the places in the pattern that the names so far can have led to, so that neither long paths nor several
    `**` cost recursion or repetition.
    """
    places = _past_any_depth({0}, parts)
    for name in names:
        stay = {place for place in places if parts[place : place + 1] == ["**"] and not _is_hidden(name)}
        step = {place + 1 for place in places - stay if place < len(parts) and _fits(name, parts[place])}
        places = _past_any_depth(stay | step, parts)
    return len(parts) in places


def _past_any_depth(places: set[int], parts: list[str]) -> set[int]:
    """The places, and those behind every `**` that they stand at, since it may stand for no folder at all."""
    reached = set(places)
    for place in range(len(parts)):
        if place in reached and parts[place] == "**":
            reached.add(place + 1)
    return reached


def _may_lead_on(names: list[str], parts: list[str]) -> bool:
    """Whether files below a folder can match."""
    head = parts[: parts.index("**")] if "**" in parts else parts[:-1]
    if any(not _fits(name, part) for name, part in zip(names, head, strict=False)):
        return False
    beyond = names[len(head) :]
    return not beyond or ("**" in parts and (any(map(_is_hidden, parts)) or not any(map(_is_hidden, beyond))))


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (_is_hidden(part) or not _is_hidden(name))


def _is_image(path: str) -> bool:
    return not _is_hidden(_name(path)) and _has_image_suffix(path)


def _has_image_suffix(path: str) -> bool:
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _name(path: str) -> str:
    return path.rpartition("/")[2]
