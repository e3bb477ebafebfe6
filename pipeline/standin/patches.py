"""Visual tokens: one for each patch of 28 x 28 px, after the shrink to what the model's tier sees. Pure arithmetic."""

from pipeline.standin.models import ModelFacts

__all__ = ["fits", "seen_size", "visual_tokens"]

_PATCH = 28


def visual_tokens(width: int, height: int, model: ModelFacts) -> int:
    """Tokens of an image of this size in px."""
    wide, high = seen_size(width, height, model)
    return _patches(wide) * _patches(high)


def seen_size(width: int, height: int, model: ModelFacts) -> tuple[int, int]:
    """The size that the model sees: the largest long edge that fits, the short one rounded with ties to even."""
    long, short = max(width, height), min(width, height)
    lowest, highest = 1, long
    while lowest < highest:
        edge = (lowest + highest + 1) // 2
        if fits(edge, _short(edge, short, long), model):
            lowest = edge
        else:
            highest = edge - 1
    other = _short(lowest, short, long)
    return (lowest, other) if width >= height else (other, lowest)


def fits(width: int, height: int, model: ModelFacts) -> bool:
    """Whether the model sees an image of this size as it is."""
    wide, high = _patches(width), _patches(height)
    return max(wide, high) * _PATCH <= model.edge and wide * high <= model.cap


def _short(edge: int, short: int, long: int) -> int:
    """`edge * short / long`, rounded to the nearest integer, ties to even, at least 1."""
    down, rest = divmod(edge * short, long)
    up = 2 * rest > long or (2 * rest == long and down % 2 == 1)
    return max(1, down + up)


def _patches(side: int) -> int:
    return -(-side // _PATCH)
