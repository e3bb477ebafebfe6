"""What the stand-in sees in an image: it decodes every one, counts its patches and measures what a caption can state."""

import base64
import binascii
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image

from pipeline.standin.models import ModelFacts
from pipeline.standin.problems import Problem

__all__ = ["SeenImage", "look", "visual_tokens"]

_MAGIC = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
_PATCH = 28
_MOST_SIDE = 8000
_MANY = 20
_MANY_SIDE = 2000
_URL_TOKENS = 1568


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What one image block held: the hash of its bytes, its size in px, its dominant colours."""

    sha256: str
    width: int
    height: int
    colours: tuple[str, ...]
    stated: str = ""

    @property
    def sentence(self) -> str:
        """What a caption says of it."""
        if self.stated:
            return self.stated
        shape = "square" if self.width == self.height else "landscape" if self.width > self.height else "portrait"
        tones = ", ".join(self.colours)
        return f"{self.width}x{self.height} {shape} picture; mostly {tones}; sha256 {self.sha256[:12]}"


def visual_tokens(width: int, height: int, model: ModelFacts) -> int:
    """Tokens after the tier's shrink: the largest long edge that fits, the short one rounded with ties to even."""
    long, short = max(width, height), min(width, height)
    lowest, highest = 1, long
    while lowest < highest:
        edge = (lowest + highest + 1) // 2
        if _within(edge, max(1, round_even(edge * short, long)), model):
            lowest = edge
        else:
            highest = edge - 1
    return _patches(lowest) * _patches(max(1, round_even(lowest * short, long)))


def round_even(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest integer, ties to even."""
    double = 2 * numerator
    down = double // (2 * denominator)
    rest = double - down * 2 * denominator
    return down + (rest > denominator or (rest == denominator and down % 2 == 1))


def look(block: Mapping[str, Any], where: str, many: bool, limit: int, model: ModelFacts) -> tuple[SeenImage, int]:
    """Decodes the image of a block: what is seen, and its tokens.

    Raises:
        Problem: the service would refuse it.
    """
    source = block.get("source")
    if not isinstance(source, dict):
        raise Problem.invalid(f"{where}.source: Field required")
    if source.get("type") == "url":
        return _by_url(str(source.get("url", "")), where), min(_URL_TOKENS, model.cap)
    if source.get("type") == "file":
        raise Problem.not_found(f"File not found: {source.get('file_id')}")
    if source.get("type") != "base64":
        raise Problem.invalid(f"{where}.source.type: Input should be 'base64', 'url' or 'file'")
    text, declared = source.get("data"), source.get("media_type")
    if not isinstance(text, str) or not text:
        raise Problem.invalid(f"{where}.source.base64.data: Input should be a non-empty string")
    if declared not in _MAGIC:
        raise Problem.invalid(f"{where}.source.base64.media_type: Input should be {', '.join(map(repr, _MAGIC))}")
    if len(text) > limit:
        raise Problem.invalid(
            f"{where}.source.base64: image exceeds {limit // 1_048_576} MB maximum: {len(text)} bytes > {limit} bytes"
        )
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem.invalid(f"{where}.source.base64.data: invalid base64 data") from None
    seen, found = _decoded(raw)
    if found != _MAGIC[declared]:
        raise Problem.invalid(
            f"{where}.source.base64: the image was specified as {declared}, but appears to be image/{found.lower()}"
        )
    _check_sides(seen, where, many)
    oversized = (block.get("transformations") or {}).get("oversized_image") == "error"
    if oversized and not _within(seen.width, seen.height, model):
        raise Problem.invalid(f"{where}: {seen.width}x{seen.height} is larger than the model sees")
    return seen, visual_tokens(seen.width, seen.height, model)


@lru_cache(maxsize=512)
def _decoded(raw: bytes) -> tuple[SeenImage, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(raw), formats=tuple(_MAGIC.values())) as image:
                name = image.format or ""
                image.load()
                colours = _colours(image)
                width, height = image.size
    except Exception:  # noqa: BLE001 - the service tells no decoder's error from another
        raise Problem.invalid("Could not process image") from None
    return SeenImage(sha256(raw).hexdigest(), width, height, colours), name


def _colours(image: Image.Image) -> tuple[str, ...]:
    small = image.convert("RGB").resize((16, 16))
    reduced = small.quantize(2)
    palette = reduced.getpalette() or []
    counts = sorted(reduced.getcolors() or [], reverse=True)
    return tuple("#" + "".join(f"{value:02x}" for value in palette[3 * int(str(at)) :][:3]) for _, at in counts)


def _check_sides(seen: SeenImage, where: str, many: bool) -> None:
    side = max(seen.width, seen.height)
    if side > _MOST_SIDE or (many and side > _MANY_SIDE):
        most = _MANY_SIDE if many else _MOST_SIDE
        kind = "for many-image requests" if many else "max allowed size"
        raise Problem.invalid(
            f"{where}.source.base64.data: At least one of the image dimensions exceed {kind}: {most} pixels",
            {"error_code": "image_dimensions_too_large", "max_side_length_pixels": most, "paths": [where]},
        )


def _by_url(url: str, where: str) -> SeenImage:
    if not url.startswith("https://"):
        raise Problem.invalid(f"{where}.source.url: only https URLs are supported")
    digest = sha256(url.encode()).hexdigest()
    return SeenImage(digest, 0, 0, (), f"a picture behind a URL; sha256 of the URL {digest[:12]}")


def is_many(count: int) -> bool:
    """Whether a request with so many images has the stricter side limit."""
    return count > _MANY


def _patches(side: int) -> int:
    return (side + _PATCH - 1) // _PATCH


def _within(width: int, height: int, model: ModelFacts) -> bool:
    wide, high = _patches(width), _patches(height)
    return max(wide, high) * _PATCH <= model.edge and wide * high <= model.cap
