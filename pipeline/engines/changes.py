"""`manifest.changed = "detect"`: whether an item's images are still those that it was answered about.

The images are read again, which is what the setting costs, and compared by the hash of their bytes; nothing is decoded
and nothing is sent for what is unchanged. An image that cannot be read any more has not changed as far as can be told.
"""

import logging
from hashlib import sha256

from anyio import to_thread

from pipeline.errors import ItemError
from pipeline.images.sources import ImageSource
from pipeline.records import Item
from pipeline.store.answered import AnsweredImages

__all__ = ["Changes"]

logger = logging.getLogger(__name__)


class Changes:
    """Compares items with what they were answered about.

    Args:
        source: reads images.
        answered: the hashes of the answered ones.
    """

    def __init__(self, source: ImageSource, answered: AnsweredImages) -> None:
        self._source = source
        self._answered = answered

    async def is_answered(self, key: bytes, item: Item) -> bool:
        """Whether the item was answered about the very bytes that its images have now."""
        known = await to_thread.run_sync(self._answered.hashes, key)
        if known is None or item.problem is not None:
            return False
        if len(known) != len(item.images):
            return False
        for before, ref in zip(known, item.images, strict=True):
            try:
                raw = await self._source.read(ref)
            except ItemError as error:
                text = "%s: taken as unchanged, it cannot be read: %s"
                logger.warning(text, item.place, error, extra={"item_id": item.item_id})
                continue
            if sha256(raw).hexdigest() != before:
                return False
        return True
