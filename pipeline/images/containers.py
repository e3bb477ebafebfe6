"""Reading the outer shape of image files: whether anything but the picture is in them, or too much to be read.

A file is clean where it holds no metadata (EXIF, XMP, profiles, comments, text) and ends where the picture ends. Only
clean files pass through untouched. Pure functions over bytes; a file of a shape not understood is not clean. What is
hidden inside the compressed pixel data itself is not looked for.
"""

import re
import struct
from collections.abc import Iterator

__all__ = ["is_clean", "jpeg_skeleton", "metadata_excess", "png_has_exif"]

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = struct.Struct(">I4s")
_PNG_PICTURE = {
    b"IHDR": 13,
    b"PLTE": 768,
    b"gAMA": 4,
    b"sRGB": 1,
    b"sBIT": 4,
    b"bKGD": 6,
    b"pHYs": 9,
    b"IEND": 0,
}
"""Chunks that decoding may use, beside IDAT, with the most bytes that the PNG specification gives them."""
_PNG_FRAMES = {b"IDAT", b"fcTL", b"fdAT"}

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_JPEG_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_BARE = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
"""Markers that Pillow reads without a length."""
_SOF = {0xC0, 0xC1, 0xC2}
_DHT, _EOI, _SOS, _DQT, _DRI, _APP0, _APP14 = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE
_JPEG_PICTURE = {*_SOF, _DHT, _SOS, _DQT, _DRI, _APP0, _APP14}
"""Baseline, extended and progressive pictures; APP0 (JFIF) and APP14 (Adobe colour transform) are part of decoding."""

_SCAN_START_BYTES = 4_096

# Pillow reads metadata piece by piece in Python, and joins EXIF segments in quadratic time: 50 MB of it took 11 s here.
# Real files have tens of pieces; the largest (depth maps in XMP) hold a few megabytes.
_MOST_PIECES = 1_000
_MOST_PNG_CHUNKS = 100_000
_MOST_JPEG_HEAD_BYTES = 16_000_000


def is_clean(name: str, raw: bytes) -> bool:
    """Whether the file holds the picture alone; `name` is Pillow's name of the format."""
    check = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif}.get(name)
    try:
        return check(raw) if check else False
    except (IndexError, struct.error):
        return False


def metadata_excess(raw: bytes) -> str | None:
    """What is too much about the metadata of a JPEG or PNG file, if anything: looked at before a decoder reads it."""
    try:
        if raw.startswith(b"\xff\xd8\xff"):
            return _jpeg_excess(raw)
        if raw.startswith(_PNG_HEAD):
            return _png_excess(raw)
    except (IndexError, struct.error):
        pass  # it ends early; the decoder says so
    return None


def png_has_exif(raw: bytes) -> bool:
    """Whether a PNG file has an EXIF chunk, in front of the pixels or behind them."""
    try:
        return any(kind == b"eXIf" for kind, _, _ in _png_chunks(raw))
    except struct.error:
        return False


def jpeg_skeleton(raw: bytes) -> bytes | None:
    """A clean JPEG file with every table and header that it has and the start of each scan, or `None`.

    libjpeg gives up on what the headers and tables say, and never on compressed data: where these end early or make no
    sense it warns, which Pillow does not pass on, and goes on with grey. So this decodes exactly where the file does.
    """
    try:
        scans = _jpeg_scans(raw)
    except (IndexError, struct.error):
        return None
    if scans is None:
        return None
    pieces, place = [], 0
    for start, end in scans:
        pieces.append(raw[place : min(end, start + _SCAN_START_BYTES)])
        place = end
    return b"".join([*pieces, raw[place:]])


def _jpeg(raw: bytes) -> bool:
    return _jpeg_scans(raw) is not None


def _jpeg_scans(raw: bytes) -> list[tuple[int, int]] | None:
    """Where the compressed data of each scan begin and end, or `None` for a file that is not clean."""
    place = 2
    scans: list[tuple[int, int]] = []
    while raw[place] == 0xFF:
        marker = raw[place + 1]
        if marker == _EOI:
            return scans if place + 2 == len(raw) else None
        if marker not in _JPEG_PICTURE:
            return None
        length = struct.unpack_from(">H", raw, place + 2)[0]
        if marker == _APP0 and (length != 16 or raw[place + 4 : place + 9] != b"JFIF\0"):
            return None
        if marker == _APP14 and (length != 14 or raw[place + 4 : place + 9] != b"Adobe"):
            return None
        place += 2 + length
        if marker == _SOS:
            found = _JPEG_AFTER_SCAN.search(raw, place)
            if found is None:
                return None
            scans.append((place, found.start()))
            place = found.start()
    return None


def _jpeg_excess(raw: bytes) -> str | None:
    """Walks to the first scan as Pillow does, which skips whatever stands between segments."""
    place = 2
    for _ in range(_MOST_PIECES):
        found = _JPEG_MARKER.search(raw, place)
        if found is None or raw[found.start() + 1] == _SOS:
            return None
        place = found.end()
        if raw[place - 1] not in _JPEG_BARE:
            place += max(2, struct.unpack_from(">H", raw, place)[0])
        if place > _MOST_JPEG_HEAD_BYTES:
            return f"over {_MOST_JPEG_HEAD_BYTES} bytes of metadata"
    return f"over {_MOST_PIECES} metadata segments"


def _png(raw: bytes) -> bool:
    for kind, length, end in _png_chunks(raw):
        if kind != b"IDAT" and length > _PNG_PICTURE.get(kind, -1):
            return False
        if kind == b"IEND":
            return end == len(raw)
    return False


def _png_excess(raw: bytes) -> str | None:
    pieces = 0
    for count, (kind, _, _) in enumerate(_png_chunks(raw), 1):
        pieces += kind not in _PNG_FRAMES
        if pieces > _MOST_PIECES or count > _MOST_PNG_CHUNKS:
            return f"over {_MOST_PIECES} metadata chunks, or {_MOST_PNG_CHUNKS} chunks in all"
        if kind == b"IEND":
            break
    return None


def _png_chunks(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, length of the contents in bytes, and the place behind the checksum, of each chunk."""
    place = len(_PNG_HEAD)
    while place < len(raw):
        length, kind = _PNG_CHUNK.unpack_from(raw, place)
        place += 12 + length
        yield kind, length, place


def _webp(raw: bytes) -> bool:
    """The simple layout: one chunk of pixels, and nothing behind it."""
    size, kind, length = struct.unpack_from("<4xI4x4sI", raw, 0)
    return kind in (b"VP8 ", b"VP8L") and size + 8 == len(raw) and 20 + length + length % 2 == len(raw)


def _gif(raw: bytes) -> bool:
    """One image, no comment or application extension, nothing after the trailer."""
    images = 0
    place = 13 + _gif_palette_bytes(raw[10])
    while raw[place] != 0x3B:
        if raw[place : place + 3] == b"\x21\xf9\x04":
            place += 8
        elif raw[place] == 0x2C:
            images += 1
            place = _after_blocks(raw, place + 11 + _gif_palette_bytes(raw[place + 9]))
        else:
            return False
    return images == 1 and place + 1 == len(raw)


def _gif_palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(raw: bytes, place: int) -> int:
    while raw[place]:
        place += raw[place] + 1
    return place + 1
