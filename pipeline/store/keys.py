"""The 16 bytes by which items are told apart: in the journal, and by readers. No I/O.

Both hash the text as a part holds it, so that an index made anew from the parts knows the same items.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b

__all__ = ["clean", "duplicate_key", "item_key"]


def item_key(item_id: str) -> bytes:
    """The key of an item; any text, lone surrogates included, has one."""
    return blake2b(item_id.encode("utf-8", "backslashreplace"), digest_size=16).digest()


def duplicate_key(item_id: str, sources: Sequence[str]) -> bytes:
    """The key of a `duplicate_id` failure: the id stands for other images, so the images are part of the key.

    Args:
        item_id: the id that stands twice.
        sources: the images as `images.source` names them.
    """
    return item_key(json.dumps([clean(item_id), *map(clean, sources)]))


def clean(text: str) -> str:
    """The text with what Parquet and SQLite cannot hold (lone surrogates) written out as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
