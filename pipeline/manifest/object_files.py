"""An object of a store read in parts, as a file is: for manifests, and for the headers of tars.

Every part is asked for with the object's ETag: an object that is replaced while it is read is an error, never a mixture
of two. What goes wrong is an `OSError` with its reason as `strerror`, as for a file on disk.
"""

import errno
from importlib import import_module
from io import SEEK_CUR, SEEK_END, BufferedReader, RawIOBase
from typing import Any

from pipeline.manifest.objects import ObjectStores, ObjectUrl, store_errors

__all__ = ["ObjectFile", "opened_object"]

_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked for at a time; a request takes some 30 ms, however little it is for."""


class ObjectFile:
    """An object as it was when it was opened.

    Attributes:
        size: in bytes.
        e_tag: tells it from another under the same key, `None` where the store gives none.

    Raises:
        StoreError: the extra is missing, or the store is not set up.
        OSError: it is not there (`FileNotFoundError`), or cannot be asked for.
    """

    def __init__(self, stores: ObjectStores, url: ObjectUrl) -> None:
        self._store: Any = stores.store(url)
        self._key = url.key
        try:
            meta = import_module("obstore").head(self._store, self._key)
        except store_errors() as error:
            raise _as_os_error(error) from error
        self.size = int(meta["size"])
        self.e_tag: str | None = meta["e_tag"]

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from a place on, fewer at the end.

        Raises:
            OSError: they cannot be read, or the object is another by now.
        """
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        options = {"range": (offset, end), "if_match": self.e_tag}
        try:
            found = bytes(import_module("obstore").get(self._store, self._key, options=options).bytes())
        except store_errors() as error:
            raise _as_os_error(error) from error
        if len(found) != end - offset:
            raise OSError(errno.EIO, "the store gave less than it has")
        return found


def opened_object(stores: ObjectStores, url: ObjectUrl) -> BufferedReader:
    """An object as a binary file that can be sought in; of it, 4 MB are held at a time.

    Raises:
        StoreError: the extra is missing, or the store is not set up.
        OSError: it is not there, or cannot be asked for.
    """
    return BufferedReader(_Stream(ObjectFile(stores, url)), _BUFFER_BYTES)


class _Stream(RawIOBase):
    def __init__(self, file: ObjectFile) -> None:
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(self._place, len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        start = {SEEK_CUR: self._place, SEEK_END: self._file.size}.get(whence, 0)
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a place before the start")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place


def _as_os_error(error: Exception) -> OSError:
    kind = type(error).__name__
    if kind == "NotFoundError" or isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such object")
    if kind == "PreconditionError":
        return OSError(errno.ESTALE, "it was replaced while it was read")
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return PermissionError(errno.EACCES, "the store denies access to it")
    if kind == "InvalidPathError" or isinstance(error, ValueError):
        return OSError(errno.EINVAL, "its key cannot be one")
    return OSError(errno.EIO, f"the store did not give it ({kind}); check its endpoint, credentials and the network")
