"""How large images are, for manifests: from the head of each file where that tells it, from the whole file else."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pipeline.errors import ErrorType, ImageError
from pipeline.images.local import LocalFile, opened_local
from pipeline.images.opening import read_header
from pipeline.images.peeking import peek
from pipeline.manifest.making import Measure, Measured
from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError, store_errors

__all__ = ["measurer"]

_HEAD_BYTES = 262_144
_MOST_BYTES = 100_000_000
"""Larger files whose head does not tell their size are not read for it."""
_MOST_PIXELS = 178_956_970
"""What Pillow opens without having its own limit lifted; what claims more is taken by the claim."""


def measurer(stores: ObjectStores) -> Measure:
    """Measures paths and objects; what cannot be measured has no size."""

    def measure(place: str) -> Measured:
        try:
            return _object(place, stores) if "://" in place else _file(place)
        except (ImageError, StoreError, ValueError, OSError):
            return Measured()

    return measure


def _file(place: str) -> Measured:
    with opened_local(place, Path(place).parent.resolve(), ()) as file:
        return _sized(file.state.st_size, lambda size: _part(file, size))


def _part(file: LocalFile, size: int) -> bytes:
    return file.read("image", 0, size)


def _object(place: str, stores: ObjectStores) -> Measured:
    library = import_module("obstore")
    url = ObjectUrl.parse(place)
    store = stores.store(url)
    try:
        size = int(library.head(store, url.key)["size"])
        return _sized(size, lambda length: bytes(library.get_range(store, url.key, start=0, length=length)))
    except store_errors() as error:
        raise StoreError(f"{place}: cannot be read") from error


def _sized(size: int, head: Callable[[int], bytes]) -> Measured:
    for length in sorted({min(size, _HEAD_BYTES), min(size, _MOST_BYTES)}):
        raw = head(length)
        try:
            header = read_header("image", raw, max_bytes=_MOST_BYTES, max_pixels=_MOST_PIXELS)
        except ImageError as error:
            claim = peek(raw)
            if error.error_type == ErrorType.IMAGE_TOO_LARGE and claim is not None:
                return Measured(size, claim.width, claim.height)
            continue
        return Measured(size, header.width, header.height)
    return Measured(size)
