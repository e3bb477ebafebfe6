"""What an item is called, and the stable numbers derived from its id. No I/O."""

from collections.abc import Sequence
from hashlib import blake2b, sha256
from uuid import UUID

from pipeline.errors import ErrorType, RowError
from pipeline.records import ImageRef

__all__ = ["MAX_ID_BYTES", "checked_id", "hashed_id", "in_shard", "raw_id", "refs_digest", "sample_rank", "text_digest"]

MAX_ID_BYTES = 65_536


def hashed_id(images: Sequence[ImageRef]) -> str:
    """The id of a row without one: 16 hex digits of the SHA-256 of its image references as written, joined by newlines.

    A cell that holds bytes is written in bytes: they are hashed, not the name beside them, since exports of other
    tools name every image alike.
    """
    digest = sha256()
    for index, ref in enumerate(images):
        written = ref.source.encode("utf-8", "surrogatepass") if ref.data is None else ref.data
        digest.update(b"\n" + written if index else written)
    return digest.hexdigest()[:16]


def raw_id(raw: bytes) -> str:
    """The id of a row that can be named by nothing but its bytes."""
    return sha256(raw).hexdigest()[:16]


def refs_digest(images: Sequence[ImageRef]) -> bytes:
    """16 bytes that are equal for equal image references."""
    digest = blake2b(digest_size=16)
    for ref in images:
        digest.update(ref.source.encode("utf-8", "surrogatepass") + b"\0")
        if ref.data is not None:
            digest.update(sha256(ref.data).digest())
    return digest.digest()


def text_digest(source: str) -> bytes:
    """`refs_digest` of one image that is named by a text."""
    return blake2b(source.encode("utf-8", "surrogatepass") + b"\0", digest_size=16).digest()


def sample_rank(item_id: str) -> int:
    """A stable 64-bit number that orders items as if at random."""
    return _number(item_id, b"sample")


def in_shard(item_id: str, index: int, of: int) -> bool:
    """Whether an item belongs to shard `index` of `of`, counted from 1; independent of its `sample_rank`.

    Every item is in exactly one of the shards, on every machine and in every run.

    Raises:
        ValueError: there is no such shard.
    """
    if not 1 <= index <= of:
        raise ValueError(f"shard {index}/{of}; allowed: 1/{of} to {of}/{of}, of at least 1")
    return _number(item_id, b"shard") % of == index - 1


def checked_id(value: object, place: str) -> str:
    """The text of an id.

    Raises:
        RowError: empty, no text, whole number or UUID, longer than 64 KiB, or with characters that no file can hold.
    """
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise RowError(ErrorType.INVALID_REQUEST, f"{place}: the id is {kind}; allowed: a text or a whole number")
    if not value:
        raise RowError(ErrorType.INVALID_REQUEST, f"{place}: the id is empty")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        text = f"{place}: the id holds half a surrogate pair, which no file can hold"
        raise RowError(ErrorType.INVALID_REQUEST, text) from None
    if len(encoded) > MAX_ID_BYTES:
        raise RowError(ErrorType.INVALID_REQUEST, f"{place}: the id is {len(encoded)} bytes; allowed: {MAX_ID_BYTES}")
    return value


def _number(item_id: str, purpose: bytes) -> int:
    digest = blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8, key=purpose)
    return int.from_bytes(digest.digest(), "big")
