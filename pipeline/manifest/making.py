"""A manifest made from what is there: the images of a folder, a glob or a bucket's prefix, one row each.

Columns: `id`, the path below the source; `image`, relative to the manifest where it lies below it, else absolute, or
the object's URL; on request `bytes`, `width` and `height` (as
seen, from headers alone; null where the file cannot be read). Rows are streamed into a file beside the output, which
takes its place when all are written.
"""

import csv
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError, ManifestError
from pipeline.manifest.objects import SCHEMES, ObjectStores, ObjectUrl, StoreError
from pipeline.manifest.scan import IMAGE_SUFFIXES, glob_root, is_glob, scan_folder, scan_glob
from pipeline.manifest.texts import BadRow

__all__ = ["MadeManifest", "MakingSettings", "Measure", "Measured", "make_manifest"]

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000
_MEASURERS = 16
_SEPARATOR = "|"
_SIZES = ("bytes", "width", "height")
_Row = dict[str, str | int | None]
_Write = Callable[[list[_Row]], None]


@dataclass(frozen=True, slots=True)
class MakingSettings:
    """What is made.

    Attributes:
        source: a folder, a glob, or the URL of a bucket or of a folder in it.
        output: the manifest; its suffix tells the format.
        sizes: whether bytes, width and height are looked up.
        force: whether a file that is there already is replaced.
    """

    source: str
    output: Path
    sizes: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class MadeManifest:
    """What was made.

    Attributes:
        rows: images.
        skipped: folders that cannot be listed, and names that no manifest can hold; each was logged.
        unmeasured: images whose size could not be told.
        root: what `manifest.root` has to be set to, where images lie outside the manifest's folder.
    """

    rows: int
    skipped: int
    unmeasured: int
    root: Path | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes, and (width, height) in px as seen; `None` where they cannot be told."""

    bytes: int | None = None
    width: int | None = None
    height: int | None = None


Measure = Callable[[str], Measured]
"""From an absolute path or an object's URL; called from several threads, and raises nothing."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An image: its id, and how it is called for reading."""

    name: str
    place: str


def make_manifest(settings: MakingSettings, measure: Measure, stores: ObjectStores | None = None) -> MadeManifest:
    """Makes a manifest.

    Raises:
        ConfigError: the output is there already, or its suffix tells no format.
        ManifestError: the source is not there or cannot be listed, has no image, or the output cannot be written.
    """
    kind = settings.output.suffix.lower()
    if kind not in _WRITERS:
        raise ConfigError(f"{settings.output}: the suffix tells no format; allowed: {', '.join(sorted(_WRITERS))}")
    if settings.output.exists() and not settings.force:
        raise ConfigError(f"{settings.output}: is there already; --force replaces it")
    names = ("id", "image", *(_SIZES if settings.sizes else ()))
    base = settings.output.absolute().parent
    skipped: list[str] = []
    rows = unmeasured = 0
    root: Path | None = None
    try:
        with _replacing(settings.output) as temporary, _WRITERS[kind](temporary, names) as write:
            found = _found(settings.source, skipped, stores or ObjectStores())
            while group := list(islice(found, BATCH_ROWS)):
                sizes = _measured(group, measure) if settings.sizes else [Measured()] * len(group)
                batch = [_row(each, size, base, settings) for each, size in zip(group, sizes, strict=True)]
                write(batch)
                rows += len(batch)
                unmeasured += sum(size.width is None for size in sizes) if settings.sizes else 0
                if root is None and any(Path(str(row["image"])).is_absolute() for row in batch):
                    root = _source_root(settings.source)
            if not rows:
                searched = ", ".join(sorted(IMAGE_SUFFIXES))
                raise ManifestError(f"{settings.source}: no image file ({searched})")
    except OSError as error:
        raise ManifestError(f"{settings.output}: cannot be written: {error.strerror or error}") from error
    return MadeManifest(rows, len(skipped), unmeasured, root)


def _found(source: str, skipped: list[str], stores: ObjectStores) -> Iterator[_Found]:
    if source.partition("://")[0].lower() in SCHEMES and "://" in source:
        return _in_bucket(source, stores)
    path = Path(source)
    if path.is_dir():
        return _in_folder(scan_folder(path), path.absolute(), skipped)
    if is_glob(source) and glob_root(source).is_dir():
        return _in_folder(scan_glob(source), glob_root(source).absolute(), skipped)
    raise ManifestError(f"{source}: no such folder (working directory: {Path.cwd()})")


def _in_folder(found: Iterator[tuple[str, str | BadRow]], root: Path, skipped: list[str]) -> Iterator[_Found]:
    for place, name in found:
        reason = name.reason if isinstance(name, BadRow) else _unfit(name)
        if isinstance(name, BadRow) or reason:
            logger.warning("%s: left out: %s", ascii(str(root / place)), reason)
            skipped.append(place[:0])  # counted, not kept
        else:
            yield _Found(name, str(root / name))


def _in_bucket(source: str, stores: ObjectStores) -> Iterator[_Found]:
    try:
        url = ObjectUrl.parse(source)
        prefix = f"{url.key.strip('/')}/" if url.key.strip("/") else ""
        for key, _ in stores.listed(ObjectUrl(url.scheme, url.bucket, prefix)):
            if Path(key).suffix.lower() in IMAGE_SUFFIXES:
                yield _Found(key.removeprefix(prefix), f"{url.root}/{key}")
    except (StoreError, ValueError) as error:
        raise ManifestError(f"{source}: {error}") from error


def _unfit(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return ""


def _measured(group: list[_Found], measure: Measure) -> list[Measured]:
    with ThreadPoolExecutor(_MEASURERS) as pool:
        return list(pool.map(measure, [each.place for each in group]))


def _row(found: _Found, size: Measured, base: Path, settings: MakingSettings) -> _Row:
    image = found.place
    if "://" not in image and Path(image).is_relative_to(base):
        image = Path(image).relative_to(base).as_posix()
    if _SEPARATOR in image and settings.output.suffix.lower() in (".csv", ".tsv"):
        raise ManifestError(f'{image}: "{_SEPARATOR}" stands between images in csv and tsv; make a .parquet or .jsonl')
    row: _Row = {"id": found.name, "image": image}
    return row | ({name: getattr(size, name) for name in _SIZES} if settings.sizes else {})


def _source_root(source: str) -> Path:
    return (Path(source) if Path(source).is_dir() else glob_root(source)).absolute()


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A path beside the output that takes its place at the end, and is gone where that fails."""
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        yield temporary
        temporary.replace(output)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _parquet(path: Path, names: tuple[str, ...]) -> Iterator[_Write]:
    schema = pa.schema([(name, pa.string() if name in ("id", "image") else pa.int64()) for name in names])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema))


@contextmanager
def _delimited(path: Path, names: tuple[str, ...], delimiter: str) -> Iterator[_Write]:
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        yield writer.writerows


@contextmanager
def _jsonl(path: Path, names: tuple[str, ...]) -> Iterator[_Write]:  # noqa: ARG001 - as the others
    with path.open("x", encoding="utf-8") as file:
        yield lambda rows: file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


_WRITERS: dict[str, Callable[[Path, tuple[str, ...]], AbstractContextManager[_Write]]] = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
    ".pq": _parquet,
}
