"""Where the bytes of an image come from: one `read` for every spelling of a reference.

A reference is inline bytes, a `data:` URI, an http(s) URL, a `file:` URL or a path. Reading local files happens in
worker threads, fetching on the event loop; both return whole files, at most `max_bytes` long.
"""

import base64
import binascii
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes

from anyio import CapacityLimiter, to_thread

from pipeline.errors import ErrorType, ImageError
from pipeline.images.fetch import Fetcher, FetchSettings, shown
from pipeline.images.local import read_local
from pipeline.records import ImageRef

__all__ = ["ImageSource", "SourceSettings", "source_name"]

_NOT_BUILT = ("s3:", "gs:", "az:")
_READERS = 8


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What may be read.

    Attributes:
        root: where relative paths start; local paths may not lead outside it.
        allow_roots: further folders that they may lead into.
        fetch: limits of fetching; its `max_bytes` holds for every source.
    """

    root: Path
    allow_roots: tuple[Path, ...] = ()
    fetch: FetchSettings = FetchSettings()


def source_name(ref: ImageRef) -> str:
    """What an image is called in the dataset and in messages: never a long `data:` URI, never a URL's query."""
    lower = ref.source[:8].lower()
    if lower.startswith("data:"):
        return ref.source if len(ref.source) <= 64 else f"{ref.source[:48]}..."
    if lower.startswith(("http:", "https:")):
        return shown(ref.source)
    return ref.source


class ImageSource:
    """Reads images for one run; an async context manager."""

    def __init__(self, settings: SourceSettings, fetcher: Fetcher | None = None) -> None:
        self._root = settings.root.resolve()
        self._allow_roots = tuple(root.resolve() for root in settings.allow_roots)
        self._max_bytes = settings.fetch.max_bytes
        self._fetcher = fetcher or Fetcher(settings.fetch)
        self._readers = CapacityLimiter(_READERS)

    async def __aenter__(self) -> Self:
        """Opens the connection pool."""
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        await self._fetcher.__aexit__(kind, error, trace)

    async def read(self, ref: ImageRef) -> bytes:
        """The file behind a reference.

        Raises:
            ImageError: it is missing, refused, too large, or cannot be fetched.
        """
        if ref.data is not None:
            return self._capped(source_name(ref), ref.data)
        scheme = ref.source[:8].lower()
        if scheme.startswith("data:"):
            return self._data_uri(ref)
        if scheme.startswith(("http:", "https:")):
            return await self._fetcher.fetch(ref.source)
        if scheme.startswith(_NOT_BUILT):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{ref.source[:200]}: object stores are not read by this version")
        read = partial(read_local, ref.source, self._root, self._allow_roots, self._max_bytes)
        return await to_thread.run_sync(read, limiter=self._readers)

    def _capped(self, name: str, raw: bytes) -> bytes:
        if len(raw) > self._max_bytes:
            raise ImageError(
                ErrorType.IMAGE_TOO_LARGE, f"{name}: {len(raw)} bytes; images.max_bytes allows {self._max_bytes}"
            )
        return raw

    def _data_uri(self, ref: ImageRef) -> bytes:
        name = source_name(ref)
        head, comma, payload = ref.source.partition(",")
        if not comma:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: a data: URI without a comma")
        if len(payload) > self._max_bytes * 3:
            raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{name}: longer than images.max_bytes allows")
        raw = unquote_to_bytes(payload)
        if head.lower().endswith(";base64"):
            try:
                raw = base64.b64decode(b"".join(raw.split()), validate=True)
            except (binascii.Error, ValueError):
                raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: not valid base64") from None
        return self._capped(name, raw)
