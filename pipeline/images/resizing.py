"""Shrinking decoded pictures with a Lanczos filter: by SIMD where that is installed, else by Pillow alone.

`cykooz_resizer` (the Rust crate fast_image_resize) takes a ninth of the CPU of Pillow's own Lanczos and differs from
it by a few grey levels of 255 (by more at single pixels of hard black and white: the two passes are in other order, and
what overshoots is cut off between them). It reads Pillow's image in place, so it depends on how Pillow lays images out
in memory: it is used with the Pillow releases that it was tried with, and after it has shrunk a known picture rightly
in this process. Everything else, enlarging included (there the two differ in more than rounding), is left to Pillow.
The bytes that are sent therefore depend on which of the two is at work, as they do on the release of Pillow.
"""

from importlib import import_module
from typing import Any, Protocol

import PIL
from PIL import Image, ImageChops

__all__ = ["FAST", "Shrink", "fast_shrink", "plain_shrink", "shrunk"]

_MODES = ("RGB", "L", "CMYK")
_TRIED_PILLOW = ("12", "13")
_TRIAL_LEVELS = 6
"""The two differ by at most 3 here; a picture that was misread differs by far more."""


class Shrink(Protocol):
    """How a picture becomes smaller."""

    def __call__(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The picture in `RGB`, `L` or `CMYK`, brought to (width, height) in px, no side larger than it is."""


def plain_shrink(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """By Pillow; whole rows and columns are averaged first where there are over four for one."""
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def fast_shrink() -> Shrink | None:
    """By SIMD; `None` where that is not installed or cannot be trusted. Releases the GIL, and is thread-safe."""
    if PIL.__version__.partition(".")[0] not in _TRIED_PILLOW:
        return None
    try:
        library: Any = import_module("cykooz_resizer")
        lanczos = library.ResizeAlg.convolution(library.FilterType.lanczos3)
        options = library.ResizeOptions(resize_alg=lanczos, use_alpha=False)
    except (ImportError, AttributeError, TypeError, ValueError):
        return None

    def shrink(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        small = Image.new(picture.mode, size)
        library.Resizer().resize_pil(picture, small, options)  # one for each call: it holds buffers of its own
        small.info = picture.info.copy()
        return small

    return shrink if _is_right(shrink) else None


def _is_right(shrink: Shrink) -> bool:
    """Tries it on pictures in each mode."""
    ramp = Image.linear_gradient("L").resize((97, 61))
    for mode in _MODES:
        other = ramp.transpose(Image.Transpose.ROTATE_180)
        picture = ramp if mode == "L" else Image.merge(mode, ([ramp, other] * 2)[: len(mode)])
        try:
            found = shrink(picture, (31, 17))
            off = ImageChops.difference(found, plain_shrink(picture, (31, 17)))
        except (AttributeError, TypeError, ValueError, RuntimeError, OSError):
            return False
        if any(sum(channel.histogram()[_TRIAL_LEVELS + 1 :]) for channel in off.split()):
            return False
    return True


_FAST = fast_shrink()
FAST = _FAST is not None
"""Whether SIMD is at work in this process."""


def shrunk(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in (width, height) px, by the fastest way there is; the picture itself where it has that size."""
    if picture.size == size:
        return picture
    if _FAST is None or picture.mode not in _MODES or size[0] > picture.width or size[1] > picture.height:
        return plain_shrink(picture, size)
    return _FAST(picture, size)
