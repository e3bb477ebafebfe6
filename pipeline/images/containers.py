"""Reading the outer shape of image files: whether anything but the picture is in them.

A file is clean where it holds no metadata (EXIF, XMP, profiles, comments, text) and ends where the picture ends. Only
clean files pass through untouched. Pure functions over bytes; a file of a shape not understood is not clean.
"""

import struct

__all__ = ["is_clean"]

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}
_WEBP_PICTURE = {b"VP8 ", b"VP8L"}
_JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_REFUSED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""APP1 to APP13, APP15 and comments; APP0 (JFIF) and APP14 (Adobe colour transform) are part of decoding."""


def is_clean(name: str, raw: bytes) -> bool:
    """Whether the file holds the picture alone; `name` is Pillow's name of the format."""
    check = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif}.get(name)
    try:
        return check(raw) if check else False
    except (IndexError, struct.error):
        return False


def _jpeg(raw: bytes) -> bool:
    place = 2
    while raw[place] == 0xFF:
        marker = raw[place + 1]
        if marker == 0xD9:
            return place + 2 == len(raw)
        if marker in _JPEG_REFUSED:
            return False
        if marker in _JPEG_ALONE:
            place += 2
            continue
        length = struct.unpack_from(">H", raw, place + 2)[0]
        if marker == 0xE0 and length > 16:
            return False
        place += 2 + length
        if marker == 0xDA:
            place = _after_scan(raw, place)
    return False


def _after_scan(raw: bytes, place: int) -> int:
    """The next marker after entropy-coded data."""
    while True:
        place = raw.index(b"\xff", place) if raw.find(b"\xff", place) >= 0 else len(raw)
        following = raw[place + 1]
        if following == 0xFF:
            place += 1
        elif following == 0 or following in _JPEG_ALONE:
            place += 2
        else:
            return place


def _png(raw: bytes) -> bool:
    if not raw.startswith(_PNG_HEAD):
        return False
    place = len(_PNG_HEAD)
    while place < len(raw):
        length, kind = struct.unpack_from(">I4s", raw, place)
        if kind not in _PNG_PICTURE:
            return False
        place += 12 + length
        if kind == b"IEND":
            return place == len(raw)
    return False


def _webp(raw: bytes) -> bool:
    size, kind = struct.unpack_from("<4xI4x4s", raw, 0)
    return kind in _WEBP_PICTURE and size + 8 == len(raw)


def _gif(raw: bytes) -> bool:
    """One image, no comment or application extension, nothing after the trailer."""
    flags = raw[10]
    place = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while raw[place] != 0x3B:
        if raw[place] == 0x21:
            if raw[place + 1] != 0xF9:
                return False
            place = _after_blocks(raw, place + 2)
        elif raw[place] == 0x2C:
            local = raw[place + 9]
            place = _after_blocks(raw, place + 11 + (3 << ((local & 7) + 1) if local & 0x80 else 0))
        else:
            return False
    return place + 1 == len(raw)


def _after_blocks(raw: bytes, place: int) -> int:
    while raw[place]:
        place += raw[place] + 1
    return place + 1
