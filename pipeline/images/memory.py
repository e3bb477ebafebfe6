"""How much memory decoding may take: an estimate for each file, and a room that lets decodes in while there is space.

The figures are Pillow's, measured as growth of the process (bytes for each stored pixel): PNG 1 to 5, progressive JPEG
3 to 6, AVIF 9 to 12, WebP 16, JPEG 2000 19 to 24; a JPEG in one scan is decoded scaled and costs next to nothing. One
picture that would take more than `most_bytes` is refused (at the default of `images.max_pixels` that is a WebP over 52
megapixels, a JPEG 2000 over 43); together, those in work take no more than the room has. Files that wait for room are
in memory too, as they were read.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pipeline.images.peeking import peek

__all__ = ["DecodeRoom", "decode_bytes", "most_bytes"]

BYTES_PER_MAX_PIXEL = 5
"""A PNG of three colours at `images.max_pixels` is just let in: 4 bytes for each pixel and a few for its rows."""
LEAST_ROOM_BYTES = BYTES_PER_MAX_PIXEL * 178_956_970
_FLAT_BYTES = 4
_PIXELS_BEFORE_REDUCTION = 16
_DRAFT_PIXELS, _LEAST_DRAFT = 4, 64
_SMALL_BYTES = 1_000_000


def most_bytes(max_pixels: int) -> int:
    """What decoding may take at once, and one picture at most; it grows with `images.max_pixels` and never shrinks."""
    return max(LEAST_ROOM_BYTES, BYTES_PER_MAX_PIXEL * max_pixels)


def decode_bytes(raw: bytes, target_pixels: int) -> int | None:
    """About how much memory preparing the file will take, without the file itself; `None` where it cannot be told.

    Args:
        raw: the file.
        target_pixels: what it is shrunk to, at most.
    """
    shape = peek(raw)
    if shape is None:
        return None
    full = shape.pixels
    if shape.name == "JPEG":
        # Scales of 1/2, 1/4 and 1/8; then a second copy, for a profile or a turn.
        decoded = max(min(full, _DRAFT_PIXELS * target_pixels), full // _LEAST_DRAFT)
        return _SMALL_BYTES + round(shape.kept * full) + 2 * _FLAT_BYTES * decoded
    # What has to be converted is reduced on the way where it is over four times as large on both sides.
    flat = min(full, _PIXELS_BEFORE_REDUCTION * target_pixels) if shape.converted else min(full, target_pixels)
    return _SMALL_BYTES + round(shape.kept * full) + _FLAT_BYTES * flat


class DecodeRoom:
    """Space for decodes in work, given out in the order in which it is asked for; for one event loop.

    Args:
        limit_bytes: what all together may take; one that needs more is let in alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._taken = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    @property
    def taken_bytes(self) -> int:
        """What is given out."""
        return self._taken

    @asynccontextmanager
    async def take(self, need_bytes: int | None) -> AsyncIterator[None]:
        """Waits until so much is free, and holds it; `None`, where the need is not known, takes all of the room."""
        need = self._limit if need_bytes is None else min(need_bytes, self._limit)
        place = need, anyio.Event()
        self._waiting.append(place)
        self._admit()
        try:
            await place[1].wait()
            yield
        finally:
            if place[1].is_set():
                self._taken -= need
            else:
                self._waiting.remove(place)
            self._admit()

    def _admit(self) -> None:
        """Lets the first in line in while there is room for them; a large one is not overtaken for ever."""
        while self._waiting and self._taken + self._waiting[0][0] <= self._limit:
            need, admitted = self._waiting.popleft()
            self._taken += need
            admitted.set()
