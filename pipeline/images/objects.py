"""Images in object stores: read whole, with a cap on their bytes and a limit on time."""

from importlib import import_module

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
        try:
            url = ObjectUrl.parse(source)
            store = self._stores.store(url)
        except ValueError as error:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: {error}") from None
        except StoreError as error:
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: {error}") from error
        if not url.key:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: names no object in its bucket")
        try:
            async with self._limiter:
                with anyio.fail_after(TIMEOUT_S):
                    return await self._read(store, url, name)
        except TimeoutError:
            text = f"{name}: not read within {TIMEOUT_S} s"
            raise ImageError(ErrorType.IMAGE_FETCH_FAILED, text, retryable=True) from None
        except store_errors() as error:
            raise _failure(name, error) from error

    async def _read(self, store: object, url: ObjectUrl, name: str) -> bytes:
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
    if kind in _REFUSED:
        return ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: the store denies access to it")
    if isinstance(error, ValueError) or kind == "InvalidPathError":
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: its key cannot be one")
    return ImageError(ErrorType.IMAGE_FETCH_FAILED, f"{name}: the store did not give it: {kind}", retryable=True)
