"""Object stores (`s3://`, `gs://`, `az://`) through obstore, an extra that is imported when the first one is named.

A URL names the bucket (for `az://` the container) and the key, as it is, without escapes. Where the store is and who
asks comes from the environment alone, in the variables of each cloud (`AWS_ACCESS_KEY_ID`, `AWS_REGION`,
`AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, ...) or from the machine's role there: a
manifest can name buckets, never hosts. Plain http is spoken to an endpoint that the environment gives as such.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

__all__ = ["ATTEMPTS", "EXTRA", "SCHEMES", "ObjectStores", "ObjectUrl", "StoreError", "is_object_url", "store_errors"]

SCHEMES = ("s3", "gs", "az")
EXTRA = "object stores need an extra: pip install 'pipeline[object-stores]'"
ATTEMPTS = 4
TIMEOUT_S = 60
_URL = re.compile(r"(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]{1,221})(?:/(.*))?", re.DOTALL | re.IGNORECASE)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_PAGE = 1000


class StoreError(Exception):
    """An object store cannot be used: the extra is missing, or it is not set up."""


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """A bucket and a key, or the prefix of keys, in it."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "ObjectUrl":
        """The parts of a URL.

        Raises:
            ValueError: it is none, or its bucket's name cannot be one.
        """
        found = _URL.fullmatch(text)
        if found is None:
            raise ValueError('allowed: such as "s3://bucket/key", with a bucket of letters, digits, ".", "_" and "-"')
        return cls(found[1].lower(), found[2], found[3] or "")

    @property
    def root(self) -> str:
        """The bucket's own URL."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def text(self) -> str:
        """The URL as it is written."""
        return f"{self.root}/{self.key}"

    @property
    def parent(self) -> "ObjectUrl":
        """The folder in which it stands; a URL that ends in `/` is a folder itself."""
        return ObjectUrl(self.scheme, self.bucket, self.key[: self.key.rfind("/") + 1])

    def below(self, reference: str) -> "ObjectUrl":
        """What a relative reference means in this folder, as it would in one on disk: `.`, `..` and `//` are resolved.

        Raises:
            ValueError: it names nothing below the folder.
        """
        key = posixpath.normpath(self.key + reference)
        if reference.startswith("/") or not key.startswith(self.key) or key == "." or key.split("/")[0] == "..":
            raise ValueError(f"leads outside {self.text}")
        return ObjectUrl(self.scheme, self.bucket, key)


def is_object_url(text: str) -> bool:
    """Whether a text names a place in an object store."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.lower() in SCHEMES


def store_errors() -> tuple[type[Exception], ...]:
    """What obstore raises: its own errors, and those of Python for settings and keys that cannot be."""
    return import_module("obstore.exceptions").BaseError, OSError, ValueError, TypeError


class ObjectStores:
    """Stores by bucket, each opened once; nothing is asked before the first object is.

    Args:
        environ: where endpoint and credentials come from; obstore reads the process's own beside it.
        attempts: how often a request is sent at most, the first time included.
        patience_s: after so long it is not sent again.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, *, attempts: int = ATTEMPTS, patience_s: float = TIMEOUT_S
    ) -> None:
        self._environ = environ
        self._retry = {"max_retries": attempts - 1, "retry_timeout": timedelta(seconds=patience_s)}
        self._stores: dict[str, Any] = {}

    def store(self, url: ObjectUrl) -> Any:
        """The store of a bucket.

        Raises:
            StoreError: the extra is missing, or the store is not set up.
        """
        found = self._stores.get(url.root)
        if found is None:
            found = self._stores[url.root] = self._opened(url)
        return found

    def _opened(self, url: ObjectUrl) -> Any:
        try:
            stores = import_module("obstore.store")
        except ImportError:
            raise StoreError(EXTRA) from None
        config = {}
        endpoint = next((self._environ[name] for name in _ENDPOINTS if self._environ.get(name)), "")
        if url.scheme == "s3" and endpoint:
            config = {"endpoint": endpoint, "virtual_hosted_style_request": False}
        client = {"timeout": timedelta(seconds=TIMEOUT_S), "allow_http": endpoint.startswith("http://")}
        try:
            return stores.from_url(url.root, config=config or None, client_options=client, retry_config=self._retry)
        except store_errors() as error:
            raise StoreError(f"{url.root}: cannot be opened: {_reason(error)}") from error

    def listed(self, url: ObjectUrl) -> Iterator[tuple[str, int]]:
        """Key and size in bytes of every object under a prefix, in the store's order, page by page.

        Raises:
            StoreError: it cannot be listed.
        """
        store = self.store(url)
        try:
            for page in import_module("obstore").list(store, url.key or None, chunk_size=_PAGE):
                yield from ((str(each["path"]), int(each["size"])) for each in page)
        except store_errors() as error:
            raise StoreError(f"{url.root}/{url.key}: cannot be listed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of what it says: the rest is a dump of its structure."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
