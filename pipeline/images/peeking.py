"""The size of a picture from the first bytes of its file, without a decoder.

So what a picture will cost is known before it is let in. Pure functions over bytes, microseconds each; what they find
is an estimate for scheduling, never a verdict.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["Shape", "peek"]

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_JPEG_BARE = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SOS = 0xDA
_MOST_SEGMENTS = 1_000
_COEFFICIENT_BYTES = 2.1
_PNG_CHANNELS = {0: 1, 2: 4, 3: 1, 4: 4, 6: 4}
"""Bytes a pixel in Pillow, by colour type: what is not grey or palette takes four."""
_JPEG2000_SIZE = re.compile(rb"ihdr(........)", re.DOTALL)
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21
_GIF_HEAD_BYTES = 200_000
_HEIF_SIZE = re.compile(rb"ispe....(....)(....)", re.DOTALL)
_HEIF_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")
_HEAD_BYTES = 1_000_000
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_NUMBERS = (3, 4)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a file seems to hold.

    Attributes:
        name: of the format: `JPEG`, `PNG`, `GIF`, `WEBP`, `BMP`, `TIFF`, `JPEG2000` or `HEIF` (AVIF too).
        width: px, as stored.
        height: px, as stored.
        kept: bytes for each stored pixel that the format's decoder holds whatever the scale: the coefficients of a
            JPEG in several scans, the pixels themselves in the other formats.
        converted: whether the pixels may have to be converted (palette, transparency, depth) before they are shrunk.
        channels: of a JPEG.
    """

    name: str
    width: int
    height: int
    kept: float
    converted: bool = True
    channels: int = 0

    @property
    def pixels(self) -> int:
        """Stored pixels."""
        return self.width * self.height


def peek(raw: bytes) -> Shape | None:
    """The shape of a file, `None` where it cannot be told."""
    try:
        if raw.startswith(b"\xff\xd8"):
            return _jpeg(raw)
        if raw.startswith(b"\x89PNG"):
            return _png(raw)
        if raw.startswith(b"GIF8"):
            return _gif(raw)
        if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
            return _webp(raw)
        if raw.startswith(b"BM"):
            return _bmp(raw)
        if raw[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(raw)
        if raw[4:8] == b"jP  " or raw.startswith(b"\xff\x4f\xff\x51"):
            return _jpeg2000(raw)
        if raw[4:8] == b"ftyp" and raw[8:12] in _HEIF_BRANDS:
            return _heif(raw)
    except (struct.error, IndexError):
        pass
    return None


def _shape(name: str, sides: Sequence[int], kept: float) -> Shape:
    return Shape(name, sides[0], sides[1], kept)


def _jpeg(raw: bytes) -> Shape | None:
    """The largest frame before the first scan; thumbnails stand inside segments, and are stepped over."""
    best: Shape | None = None
    place = 2
    for _ in range(_MOST_SEGMENTS):
        found = _JPEG_MARKER.search(raw, place)
        if found is None:
            break
        marker, place = raw[found.start() + 1], found.end()
        if marker in _JPEG_BARE:
            continue
        if marker == _SOS:
            return best if best is None or raw[place + 2] == best.channels else _in_scans(best)
        if marker in _JPEG_FRAMES:
            frame = _jpeg_frame(raw, place, marker in _PROGRESSIVE)
            best = max(best or frame, frame, key=lambda shape: shape.pixels)
        place += max(2, struct.unpack_from(">H", raw, place)[0])
    return best


def _in_scans(shape: Shape) -> Shape:
    """A picture whose first scan lacks a channel has further scans, and its coefficients are kept until the last."""
    return replace(shape, kept=shape.kept or _COEFFICIENT_BYTES * shape.channels)


def _jpeg_frame(raw: bytes, place: int, in_scans: bool) -> Shape:
    """A frame segment, from behind its marker."""
    height, width, channels = struct.unpack_from(">HHB", raw, place + 3)
    factors = raw[place + 9 : place + 8 + 3 * channels : 3]
    samples = [(each >> 4) * (each & 15) for each in factors]
    kept = _COEFFICIENT_BYTES * sum(samples) / max(1, *samples, 1) if in_scans else 0.0
    return Shape("JPEG", width, height, kept, channels=channels)


def _png(raw: bytes) -> Shape:
    width, height, depth, colour = struct.unpack_from(">IIBB", raw, 16)
    if (depth, colour) == (16, 0):
        return Shape("PNG", width, height, 2.0)
    return Shape("PNG", width, height, _PNG_CHANNELS.get(colour, 4), colour not in (0, 2))


def _gif(raw: bytes) -> Shape | None:
    """The screen, or the first frame where it reaches beyond that; what stands in front of it is stepped over."""
    width, height, flags = struct.unpack_from("<HHB", raw, 6)
    place = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while place < _GIF_HEAD_BYTES:
        if raw[place] == _GIF_FRAME:
            left, top, wide, high = struct.unpack_from("<HHHH", raw, place + 1)
            return Shape("GIF", max(width, left + wide), max(height, top + high), 2.0)
        place += 1
        if raw[place - 1] == _GIF_EXTENSION:
            place += 1
            while raw[place] and place < _GIF_HEAD_BYTES:
                place += raw[place] + 1
            place += 1
    return None


def _webp(raw: bytes) -> Shape | None:
    """Pillow decodes through an animation's two canvases, and copies what it gets."""
    kind = raw[12:16]
    if kind == b"VP8X":
        sides = [int.from_bytes(raw[at : at + 3], "little") + 1 for at in (24, 27)]
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", raw, 21)[0]
        sides = [(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1]
    elif kind == b"VP8 ":
        sides = [side & 0x3FFF for side in struct.unpack_from("<HH", raw, 26)]
    else:
        return None
    return _shape("WEBP", sides, 17.0)


def _bmp(raw: bytes) -> Shape:
    size = struct.unpack_from("<I", raw, 14)[0]
    wide, high = struct.unpack_from("<HH" if size == 12 else "<ii", raw, 18)
    return Shape("BMP", abs(wide), abs(high), 6.0)


def _tiff(raw: bytes) -> Shape | None:
    """By the first directory; in two of the ways of reading strips a second copy is made."""
    order = "<" if raw[:2] == b"II" else ">"
    place = struct.unpack_from(f"{order}I", raw, 4)[0]
    sides = {}
    for index in range(min(4096, struct.unpack_from(f"{order}H", raw, place)[0])):
        at = place + 2 + 12 * index
        tag, kind = struct.unpack_from(f"{order}HH", raw, at)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            if kind not in _TIFF_NUMBERS or tag in sides:
                return None
            sides[tag] = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", raw, at + 8)[0]
    if len(sides) < 2:
        return None
    return Shape("TIFF", sides[_TIFF_WIDTH], sides[_TIFF_HEIGHT], 8.0)


def _jpeg2000(raw: bytes) -> Shape | None:
    """The larger of what the container and the codestream say; OpenJPEG keeps 32 bits for each sample."""
    place = raw.find(b"\xff\x4f\xff\x51", 0, _HEAD_BYTES)
    if place < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", raw, place + 8)
    channels = struct.unpack_from(">H", raw, place + 40)[0]
    sides = [(max(0, right - left), max(0, bottom - top))]
    sides += [struct.unpack(">II", found[1])[::-1] for found in _JPEG2000_SIZE.finditer(raw, 0, _HEAD_BYTES)]
    return _shape("JPEG2000", max(sides, key=lambda side: side[0] * side[1]), 8.0 + 4.2 * min(channels, 8))


def _heif(raw: bytes) -> Shape | None:
    sides = [struct.unpack(">II", found[1] + found[2]) for found in _HEIF_SIZE.finditer(raw, 0, _HEAD_BYTES)]
    if not sides:
        return None
    return _shape("HEIF", max(sides, key=lambda side: side[0] * side[1]), 12.0)
