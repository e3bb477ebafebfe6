"""Images in object stores: read whole, with a cap on their bytes and a limit on time."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import anyio

from pipeline.errors import ErrorType, ImageError
from pipeline.images.local import legible
from pipeline.manifest.objects import SCHEMES, TIMEOUT_S, ObjectStores, ObjectUrl, StoreError, store_errors

__all__ = ["SCHEMES", "ObjectReader"]

_AT_ONCE = 32
_CHUNK_BYTES = 1_000_000
_REFUSED = ("PermissionDeniedError", "UnauthenticatedError")


class ObjectReader:
    """Reads objects for one run.

    Args:
        max_bytes: of one object.
        stores: by bucket.
    """

    def __init__(self, max_bytes: int, stores: ObjectStores | None = None) -> None:
        self._max_bytes = max_bytes
        self._stores = stores or ObjectStores()
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def read(self, source: str) -> bytes:
        """The object behind a URL.

        Raises:
            ImageError: `image_refused` where it is no such URL, `image_missing`, `image_too_large` before it is read;
                else `image_fetch_failed`, retryable unless access is denied or the extra is missing.
        """
        name = legible(source)
        url, store = self._named(source, name)
        return await self._timely(name, lambda: self._whole(store, url, name))

    async def read_part(self, source: str, name: str, place: tuple[int, int], e_tag: str | None) -> bytes:
        """So many bytes of an object from an offset on; `name` is what messages call them.

        Raises:
            ImageError: as for whole objects; `image_corrupt` where it is not the one of this ETag any more.
        """
        url, store = self._named(source, name)
        options = {"range": (place[0], sum(place)), "if_match": e_tag}

        async def part() -> bytes:
            return bytes(
                await (await import_module("obstore").get_async(store, url.key, options=options)).bytes_async()
            )

        found = await self._timely(name, part) if place[1] else b""
        if len(found) != place[1]:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: ends before its end")
        return found

    def _named(self, source: str, name: str) -> tuple[ObjectUrl, Any]:
        try:
            url = ObjectUrl.parse(source)
            store = self._stores.store(url)
        except ValueError as error:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: {error}") from None
        except StoreError as error:
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: {error}") from error
        if not url.key:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: names no object in its bucket")
        return url, store

    async def _timely(self, name: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            async with self._limiter:
                with anyio.fail_after(TIMEOUT_S):
                    return await read()
        except TimeoutError:
            text = f"{name}: not read within {TIMEOUT_S} s"
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, text, retryable=True) from None
        except store_errors() as error:
            raise _failure(name, error) from error

    async def _whole(self, store: object, url: ObjectUrl, name: str) -> bytes:
        answer = await import_module("obstore").get_async(store, url.key)
        size = int(answer.meta["size"])
        too_large = ImageError(
            ErrorType.IMAGE_TOO_LARGE, f"{name}: {size} bytes; images.max_bytes allows {self._max_bytes}"
        )
        if size > self._max_bytes:
            raise too_large
        body = bytearray()
        async for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        return bytes(body)


def _failure(name: str, error: Exception) -> ImageError:
    kind = type(error).__name__
    if kind == "NotFoundError" or isinstance(error, FileNotFoundError):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: no such object")
    if kind == "PreconditionError":
        return ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: the object was replaced while it was read", retryable=True)
    if kind in _REFUSED:
        return ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: the store denies access to it")
    if isinstance(error, ValueError) or kind == "InvalidPathError":
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: its key cannot be one")
    return ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: the store did not give it: {kind}", retryable=True)
