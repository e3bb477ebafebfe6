"""Where the bytes of an image come from: one `read` for every spelling of a reference.

A reference is inline bytes, a `data:` URI, an http(s) URL, an object-store URL, a `file:` URL, a path, or a member of a
tar (`shards/000.tar#cat.jpg`). A relative path starts at the root, which may be a folder in a bucket. Local files are
read and `data:` URIs decoded in worker threads, the rest is fetched on the event loop; all return whole files, at most
`max_bytes` long.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes

from anyio import CapacityLimiter, to_thread

from pipeline.errors import ConfigError, ErrorType, ImageError
from pipeline.explaining import found
from pipeline.images.fetch import Fetcher, FetchSettings, shown
from pipeline.images.local import legible, read_local
from pipeline.images.object_tars import ObjectTarReader
from pipeline.images.objects import SCHEMES, ObjectReader
from pipeline.images.tars import TarReader, tar_member
from pipeline.manifest.objects import ObjectStores, ObjectUrl, is_object_url
from pipeline.records import ImageRef
from pipeline.urls import masked_url

__all__ = ["ImageSource", "SourceSettings", "root_of", "source_name"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_READERS = 8


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What may be read.

    Attributes:
        root: where relative paths start; they may not lead outside it.
        allow_roots: further folders that they may lead into.
        fetch: limits of fetching; its `max_bytes` holds for every source.
    """

    root: Path | ObjectUrl
    allow_roots: tuple[Path, ...] = ()
    fetch: FetchSettings = field(default_factory=FetchSettings)

    @property
    def root_text(self) -> str:
        """The root as a resolved path, or as a URL."""
        return self.root.text if isinstance(self.root, ObjectUrl) else str(self.root.resolve())


def root_of(text: str) -> Path | ObjectUrl:
    """The folder that `manifest.root` names.

    Raises:
        ConfigError: it is an object-store URL, and not a valid one.
    """
    if not is_object_url(text):
        return Path(text)
    try:
        url = ObjectUrl.parse(text)
    except ValueError as error:
        raise ConfigError(f"manifest.root: found {found(masked_url(text))}; {error}") from None
    return url if url.key.endswith("/") or not url.key else ObjectUrl(url.scheme, url.bucket, f"{url.key}/")


def source_name(ref: ImageRef) -> str:
    """What an image is called in the dataset and in messages: never a long `data:` URI, never a URL's query.

    Half a surrogate pair, as a file name that is not UTF-8 has it, is written out: no Parquet file can hold it.
    """
    scheme = _scheme(ref.source)
    name = ref.source
    if scheme in ("http", "https"):
        name = shown(ref.source, longest=65_536)
    elif scheme == "data" and len(name) > 64:
        name = f"{name[:48]}..."
    return name.encode("utf-8", "backslashreplace").decode()


class ImageSource:
    """Reads images for one run; an async context manager."""

    def __init__(self, settings: SourceSettings, fetcher: Fetcher | None = None) -> None:
        self._bucket = settings.root if isinstance(settings.root, ObjectUrl) else None
        self._allow_roots = tuple(root.resolve() for root in settings.allow_roots)
        self._root = settings.root.resolve() if isinstance(settings.root, Path) else next(iter(self._allow_roots), None)
        self._max_bytes = settings.fetch.max_bytes
        self._fetcher = fetcher or Fetcher(settings.fetch)
        stores = ObjectStores()
        self._objects = ObjectReader(self._max_bytes, stores)
        self._object_tars = ObjectTarReader(self._objects, self._max_bytes, stores)
        self._tars = None if self._root is None else TarReader(self._root, self._allow_roots, self._max_bytes)
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
        scheme, source = _scheme(ref.source), ref.source
        if self._bucket is not None and not scheme and not source.startswith("/"):
            scheme, source = self._bucket.scheme, _beside(self._bucket, source)
        if scheme in ("http", "https"):
            return await self._fetcher.fetch(source)
        member = tar_member(source)
        if scheme in SCHEMES:
            return await (self._object_tars.read(*member) if member else self._objects.read(source))
        if scheme == "data":
            read = partial(self._data_uri, ref)
        elif scheme not in ("", "file"):
            allowed = ", ".join(("http", "https", *SCHEMES, "file", "data"))
            text = f"{legible(masked_url(ref.source))}: {scheme}: URLs are not read; allowed: {allowed}"
            raise ImageError(ErrorType.IMAGE_REFUSED, text)
        elif self._root is None or self._tars is None:
            text = f"{legible(source)}: leads outside manifest.root, which is a bucket; see manifest.allow_roots"
            raise ImageError(ErrorType.IMAGE_REFUSED, text)
        elif member and not scheme:
            read = partial(self._tars.read, *member)
        else:
            read = partial(read_local, source, self._root, self._allow_roots, self._max_bytes)
        return await to_thread.run_sync(read, limiter=self._readers)

    def _capped(self, name: str, raw: bytes) -> bytes:
        if len(raw) > self._max_bytes:
            raise ImageError(
                ErrorType.IMAGE_TOO_LARGE, f"{name}: {len(raw)} bytes; images.max_bytes allows {self._max_bytes}"
            )
        return raw

    def _data_uri(self, ref: ImageRef) -> bytes:
        name = legible(source_name(ref))
        head, comma, payload = ref.source.partition(",")
        if not comma:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: a data: URI without a comma")
        if len(payload) > self._max_bytes * 3:  # each byte may be written as %XX
            raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{name}: longer than images.max_bytes allows")
        try:
            raw = unquote_to_bytes(payload)
            if head.rstrip().lower().endswith(";base64"):
                raw = base64.b64decode(b"".join(raw.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: its data is not valid base64 or text") from None
        return self._capped(name, raw)


def _beside(folder: ObjectUrl, source: str) -> str:
    """The URL of a relative path in a bucket; of a member, that of its tar with the member behind it."""
    member = tar_member(source)
    try:
        url = folder.below(member[0] if member else source).text
    except ValueError as error:
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{legible(source)}: {error}") from None
    return f"{url}#{member[1]}" if member else url


def _scheme(source: str) -> str:
    """The scheme of a URL in lower case; empty for a path, which may hold a colon as well."""
    found = _SCHEME.match(source)
    if found is None:
        return ""
    scheme = found[1].lower()
    return scheme if found[2] or scheme in ("data", "file", "http", "https") else ""
