"""How large an image may be, and what it costs: pure integer arithmetic.

The service sees an image as patches of 28 x 28 px, one visual token each, after it has shrunk what is over the
model's bound. The rules are those of the Vision page of the API's documentation (read 2026-08-21): an image fits when
both sides, rounded up to whole patches, are at most the edge, and its patches at most the cap; else the largest long
edge that fits is taken, the short one rounded with ties to even.
"""

from dataclasses import dataclass

__all__ = [
    "HIGH",
    "MANY_IMAGES",
    "MANY_IMAGES_SIDE_PX",
    "MAX_BASE64_BYTES",
    "MAX_SIDE_PX",
    "PATCH_PX",
    "STANDARD",
    "Bounds",
    "base64_length",
    "fits",
    "image_tokens",
    "seed_tokens",
    "shrink",
    "tight_shrink",
]

PATCH_PX = 28
MAX_SIDE_PX = 8000
MANY_IMAGES = 20
MANY_IMAGES_SIDE_PX = 2000
MAX_BASE64_BYTES = 5_242_880
"""5 MiB of base64 text: the stricter of the limits in force (direct API 10 MB, Bedrock and Google Cloud 5 MB)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest image that is sent.

    Attributes:
        max_edge: px, of the longer side rounded up to whole patches; at least one patch.
        max_tokens: visual tokens, that is patches; at least one.

    Raises:
        ValueError: no image at all would fit.
    """

    max_edge: int
    max_tokens: int

    def __post_init__(self) -> None:
        if self.max_edge < PATCH_PX or self.max_tokens < 1:
            raise ValueError(f"no image fits {self.max_edge} px and {self.max_tokens} tokens")


STANDARD = Bounds(1568, 1568)
"""What Claude 4.6 and earlier, and all 4.5 models, can see."""
HIGH = Bounds(2576, 4784)
"""What Claude 4.7 and later can see."""


def image_tokens(width: int, height: int) -> int:
    """Visual tokens of an image that fits: its patches, partial ones counted whole."""
    return _patches(width) * _patches(height)


def fits(width: int, height: int, bounds: Bounds) -> bool:
    """Whether the service takes the image without shrinking it."""
    edge = PATCH_PX * max(_patches(width), _patches(height))
    return edge <= bounds.max_edge and image_tokens(width, height) <= bounds.max_tokens


def shrink(width: int, height: int, bounds: Bounds) -> tuple[int, int]:
    """The size that the service shrinks an image to; the size itself where it fits."""
    if fits(width, height, bounds):
        return width, height
    long, short = max(width, height), min(width, height)
    low, high = 1, long
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle, _scaled(middle, short, long), bounds):
            low = middle
        else:
            high = middle - 1
    other = _scaled(low, short, long)
    return (low, other) if width >= height else (other, low)


def tight_shrink(width: int, height: int, bounds: Bounds) -> tuple[int, int]:
    """The size we shrink to: as `shrink`, then without a row or column of patches that are mostly empty.

    Where a side ends at most a quarter into its last patch, and ending on the patch before takes at most 2 % of it,
    both sides are scaled down so far. Never larger than `shrink`, never more tokens; an image that fits is left alone.
    """
    wide, high = shrink(width, height, bounds)
    if (wide, high) == (width, height):
        return wide, high
    best = (wide, high)
    for side in (wide, high):
        over = side % PATCH_PX
        if not 0 < over <= PATCH_PX // 4 or over * 50 > side:
            continue
        candidate = (max(1, wide * (side - over) // side), max(1, high * (side - over) // side))
        if image_tokens(*candidate) < image_tokens(*best):
            best = candidate
    return best


def seed_tokens(width: int, height: int) -> int:
    """The older estimate of the vision guide, `w * h / 750`: an approximation, kept beside the patch rule."""
    return round(width * height / 750)


def base64_length(raw_bytes: int) -> int:
    """Characters of the base64 text of so many bytes."""
    return 4 * ((raw_bytes + 2) // 3)


def _patches(side: int) -> int:
    return -(-side // PATCH_PX)


def _scaled(long_new: int, short: int, long: int) -> int:
    """`round(long_new * short / long)` with ties to even, at least 1, without floating point."""
    quotient, rest = divmod(long_new * short, long)
    if rest * 2 > long or (rest * 2 == long and quotient % 2):
        quotient += 1
    return max(1, quotient)
