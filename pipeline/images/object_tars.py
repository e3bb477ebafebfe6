"""Members of tars in object stores: `s3://bucket/shards/000.tar#cat.jpg`.

The tar is gone through once for the places of its members, some megabytes at a time: where members are small that reads
it whole, where they are large little more than their headers. Each member is then read by its place alone, with the
ETag that the tar had then, so that a tar that is replaced meanwhile is an error and never a wrong picture.
"""

from collections.abc import Callable

import anyio
from anyio import CapacityLimiter, to_thread

from pipeline.errors import ErrorType, ImageError
from pipeline.images.local import legible
from pipeline.images.objects import ObjectReader
from pipeline.images.tars import Indexes, Place, place_of, places_of
from pipeline.manifest.object_files import ObjectFile
from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError

__all__ = ["ObjectTarReader"]

_WINDOW_BYTES = 2 * 1024 * 1024
_AT_ONCE = 4
"""Tars that are gone through at a time."""


class ObjectTarReader:
    """Reads members for one run.

    Args:
        objects: reads the members themselves.
        max_bytes: of one member.
        stores: by bucket.
    """

    def __init__(self, objects: ObjectReader, max_bytes: int, stores: ObjectStores) -> None:
        self._objects = objects
        self._max_bytes = max_bytes
        self._stores = stores
        self._indexes = Indexes()
        self._e_tags: dict[str, str | None] = {}
        self._under_way: dict[str, anyio.Lock] = {}
        self._limiter = CapacityLimiter(_AT_ONCE)

    async def read(self, source: str, member: str) -> bytes:
        """The bytes of a member of the tar behind a URL.

        Raises:
            ImageError: as for objects; `image_missing` and `image_refused` for members that are not there or are no
                plain files, `image_corrupt` for what is no tar, or another than when its members were found.
        """
        name = legible(f"{source}#{member}")
        places, e_tag = await self._members(source, name)
        try:
            return await self._objects.read_part(source, name, place_of(member, places, name, self._max_bytes), e_tag)
        except ImageError as error:
            if error.error_type == ErrorType.IMAGE_CORRUPT:
                self._indexes.forget(source)
            raise

    async def _members(self, source: str, name: str) -> tuple[dict[str, Place], str | None]:
        """Places and ETag of a tar; found once, however many members are asked for at a time."""
        async with self._under_way.setdefault(source, anyio.Lock()):
            known = self._indexes.get(source)
            if known is not None:
                return known, self._e_tags[source]
            places, self._e_tags[source] = await to_thread.run_sync(self._found, source, name, limiter=self._limiter)
            self._indexes.put(source, places)
            return places, self._e_tags[source]

    def _found(self, source: str, name: str) -> tuple[dict[str, Place], str | None]:
        try:
            url = ObjectUrl.parse(source)
            file = ObjectFile(self._stores, url)
        except ValueError as error:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: {error}") from None
        except StoreError as error:
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: {error}") from error
        except OSError as error:
            raise _failure(name, error) from error
        return places_of(_windowed(file, name), file.size, name), file.e_tag


def _windowed(file: ObjectFile, name: str) -> Callable[[int, int], bytes]:
    """Reads from an object, `_WINDOW_BYTES` at a time: the next header is often in them already."""
    start, held = 0, b""

    def read(offset: int, size: int) -> bytes:
        nonlocal start, held
        if not start <= offset <= offset + size <= start + len(held):
            try:
                start, held = offset, file.read(offset, max(size, _WINDOW_BYTES))
            except OSError as error:
                raise _failure(name, error) from error
        return held[offset - start : offset - start + size]

    return read


def _failure(name: str, error: OSError) -> ImageError:
    text = f"{name}: the tar cannot be read: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return ImageError(ErrorType.IMAGE_MISSING, text)
    return ImageError(ErrorType.IMAGE_FETCH_FAILED, text, retryable=not isinstance(error, PermissionError))
