"""A dataset's place in an object store, in the words of `pathlib` that the dataset uses.

An object appears whole or not at all, so a part needs no temporary name beside its place: it is written to a nameless
local file and then put, by one request or, where it is large, by a multipart upload, which the store makes visible at
its end. What tells a part from another of its name is its size and its ETag. Requests that fail are tried again, with
growing waits, for `PATIENCE_S` (a store that says "slow down", an upload that was cut); what fails after that is an
`OSError`, as a disk's is.

What is private to a machine, the journal above all, lies in a local folder, which is `$XDG_STATE_HOME/pipeline/` (by
default `~/.local/state/pipeline/`) and a name made from the output's URL. How several machines keep out of each
other's way, and what a lost one costs, is in `leases`.
"""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from pipeline.errors import OutputError
from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError, store_errors
from pipeline.store.object_file import ObjectFile, ObjectStat

__all__ = ["PATIENCE_S", "Bucket", "BucketPath", "ConflictError", "Place", "is_remote", "place_of"]

PATIENCE_S = 120
_ATTEMPTS = 12
_WHOLE_BYTES = 1 << 20
"""An object up to this size is read by one request."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_SCHEMES = ("s3:/", "gs:/", "az:/")


class ConflictError(OSError):
    """An object is another than the one that was to be replaced."""


@lru_cache(maxsize=32)
def _store(root: str, _environment: str) -> Any:
    """The client of a bucket, one for a process; another where the environment names another server."""
    return ObjectStores(attempts=_ATTEMPTS, patience_s=PATIENCE_S).store(ObjectUrl.parse(root))


class Bucket:
    """A bucket as one dataset uses it.

    Attributes:
        scratch: the local folder in which parts are made.
        guard: asked with the key before anything is put; raises `OSError` where nothing may be. `None` asks nobody.
    """

    def __init__(self, root: str, scratch: Path) -> None:
        self.root = root
        self.scratch = scratch
        self.guard: Callable[[str], None] | None = None

    @property
    def store(self) -> Any:
        """The client.

        Raises:
            OutputError: the extra is missing, or the store is not set up.
        """
        try:
            return _store(self.root, endpoint())
        except StoreError as error:
            raise OutputError(f"{self.root}: {error}") from error


def endpoint() -> str:
    """The server that the environment names, empty for the cloud's own."""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")


def is_remote(text: str) -> bool:
    """Whether a path leads to an object store; `pathlib` makes one slash of two."""
    return text.lower().startswith(_SCHEMES)


class BucketPath:
    """An object, or the prefix of objects' keys.

    Args:
        bucket: where.
        key: without slashes at its ends.
        found: what is known of the object from a listing.
    """

    __slots__ = ("_found", "bucket", "key")

    def __init__(self, bucket: Bucket, key: str, found: ObjectStat | None = None) -> None:
        self.bucket = bucket
        self.key = key
        self._found = found

    @classmethod
    def parse(cls, text: str) -> "BucketPath":
        """The place that a URL names.

        Raises:
            OutputError: it is no such URL.
        """
        scheme, _, rest = text.partition(":")
        try:
            url = ObjectUrl.parse(f"{scheme}://{rest.lstrip('/')}")
        except ValueError as error:
            raise OutputError(f"{text}: is no place in an object store; {error}") from None
        key = url.key.strip("/")
        return cls(Bucket(url.root, _local(f"{url.root}/{key}")), key)

    def __str__(self) -> str:
        """Its URL."""
        return f"{self.bucket.root}/{self.key}".rstrip("/")

    __repr__ = __str__

    def __truediv__(self, name: str) -> "BucketPath":
        """What is under it."""
        return BucketPath(self.bucket, f"{self.key}/{name}".lstrip("/"))

    def __eq__(self, other: object) -> bool:
        """Whether it is the same place."""
        return isinstance(other, BucketPath) and str(self) == str(other)

    def __hash__(self) -> int:
        """Of the place."""
        return hash(str(self))

    def __lt__(self, other: "BucketPath") -> bool:
        """By key."""
        return self.key < other.key

    @property
    def name(self) -> str:
        """The last part of the key, or the bucket's name."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> "BucketPath":
        """What it is under."""
        return BucketPath(self.bucket, self.key.rpartition("/")[0])

    @property
    def state(self) -> Path:
        """The local folder of what is private to this machine; it need not exist."""
        return _local(str(self))

    def pinned(self) -> "BucketPath":
        """The object as it is now: what reads or replaces it by this path meets this content, or fails."""
        return BucketPath(self.bucket, self.key, self.look())

    def resolve(self) -> "BucketPath":
        """Itself: there are no links."""
        return self

    def mkdir(self, *, exist_ok: bool = False) -> None:
        """Nothing: a prefix is there with its first object."""

    def look(self) -> ObjectStat | None:
        """What the store says of the object now, `None` where there is none.

        Raises:
            OSError: the store does not answer.
        """
        try:
            with self._told():
                return ObjectStat.of(import_module("obstore").head(self.bucket.store, self.key))
        except FileNotFoundError:
            return None

    def known(self) -> ObjectStat | None:
        """What the listing said that it came from; else what `look` says."""
        return self._found or self.look()

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.known() is not None

    def is_dir(self) -> bool:
        """Whether there is an object under it."""
        with self._told():
            pages = import_module("obstore").list(self.bucket.store, self.key or None, chunk_size=1)
            return any(len(page) for page in pages)

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def exists(self) -> bool:
        """Whether there is such an object, or one under it."""
        return self.is_file() or self.is_dir()

    def folders(self) -> list[str]:
        """The names of the prefixes directly under it."""
        with self._told():
            found = import_module("obstore").list_with_delimiter(self.bucket.store, self.key or None)
            return [str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]

    def glob(self, pattern: str) -> Iterator["BucketPath"]:
        """The objects directly under it whose names match, with what the listing says of them."""
        under = f"{self.key}/" if self.key else ""
        with self._told():
            for page in import_module("obstore").list(self.bucket.store, self.key or None):
                for meta in page:
                    name = str(meta["path"]).removeprefix(under)
                    if "/" not in name and fnmatchcase(name, pattern):
                        yield BucketPath(self.bucket, str(meta["path"]), ObjectStat.of(meta))

    def read_bytes(self) -> bytes:
        """The object.

        Raises:
            FileNotFoundError: there is none.
            OSError: the store does not give it.
        """
        return self.read()[0]

    def read(self) -> tuple[bytes, ObjectStat]:
        """The object, and what the store says of it."""
        with self._told():
            answer = import_module("obstore").get(self.bucket.store, self.key)
            return bytes(answer.bytes()), ObjectStat.of(answer.meta)

    def open(self, _mode: str = "rb") -> IO[bytes]:
        """The object to be read here and there.

        Raises:
            FileNotFoundError: there is none.
        """
        found = self.known()
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        if found.bytes <= _WHOLE_BYTES:
            return io.BytesIO(self.read_bytes())
        return io.BufferedReader(ObjectFile(self.read_range, found), 1 << 16)

    def read_range(self, start: int, end: int, e_tag: str | None) -> bytes:
        """Some bytes of the object, of the version that has this ETag."""
        with self._told():
            options = {"range": (start, end), "if_match": e_tag}
            return bytes(import_module("obstore").get(self.bucket.store, self.key, options=options).bytes())

    def replace(self, content: IO[bytes]) -> None:
        """Puts an object in its place; over the one that is meant, where the path comes from a listing or is pinned.

        Raises:
            ConflictError: there is another by now.
            OSError: the store did not take it, or `Bucket.guard` forbids it.
        """
        meant = self._found.e_tag if self._found is not None else None
        self.write(content, mode="overwrite" if meant is None else {"e_tag": meant})

    def write(self, content: bytes | IO[bytes], *, mode: Any = "overwrite") -> str | None:
        """Puts an object in its place, whole or not at all; its ETag.

        Args:
            content: of the object; a file is read from its beginning.
            mode: `create` where there must be none, `{"e_tag": ...}` where it must be the one with this ETag.

        Raises:
            ConflictError: there is one, or another.
            OSError: the store did not take it, or `Bucket.guard` forbids it.
        """
        if self.bucket.guard is not None:
            self.bucket.guard(self.key)
        if not isinstance(content, bytes):
            content.seek(0)
        with self._told():
            try:
                put = import_module("obstore").put(self.bucket.store, self.key, content, mode=mode)
            except FileNotFoundError as error:
                raise OSError(errno.ENXIO, "there is no such bucket", str(self)) from error
        return str(put["e_tag"]) if put["e_tag"] is not None else None

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Removes the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        with self._told():
            import_module("obstore").delete(self.bucket.store, self.key)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what the client raises into `OSError`."""
        _ = self.bucket.store  # where the extra is missing, this says so
        kinds = import_module("obstore.exceptions")
        try:
            yield
        except (kinds.AlreadyExistsError, kinds.PreconditionError) as error:
            raise ConflictError(errno.EEXIST, "another one is in its place", str(self)) from error
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except store_errors() as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise OSError(errno.EIO, f"the object store says: {_reason(error)}", str(self)) from error


Place = Path | BucketPath
"""A dataset's folder, or something in it."""


def place_of(output: str | Place) -> Place:
    """The place that a path or URL means.

    Raises:
        OutputError: it begins as the URL of an object store and is none.
    """
    if isinstance(output, BucketPath):
        return output
    return BucketPath.parse(str(output)) if is_remote(str(output)) else Path(output)


def _local(url: str) -> Path:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    told = blake2b(f"{endpoint()}\n{url.rstrip('/')}".encode(), digest_size=8).hexdigest()
    return base / "pipeline" / f"{url.rstrip('/').rpartition('/')[2]}-{told}"


def _reason(error: Exception) -> str:
    """The first line of what it says: the rest is a dump of its structure."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
