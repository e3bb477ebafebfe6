"""Image files made by hand: turned, hostile, with things in them that must not be sent; and a judge of what is."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageCms

from pipeline.records import PreparedImage
from pipeline.standin.models import find_model
from pipeline.standin.vision import SeenImage, look
from support.pictures import QUADRANTS, encoded

__all__ = [
    "EXIF_SIDES",
    "exif",
    "jpeg_with",
    "judged",
    "opened",
    "png_chunk",
    "png_claiming",
    "png_with",
    "quadrant_colours",
    "stored_for",
    "swapping_profile",
    "tiny_webp",
]

EXIF_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""The EXIF specification's table: the side of the visible picture at which the stored row 0 and column 0 are."""
_OPPOSITE = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}


def stored_for(orientation: int, width: int, height: int) -> Image.Image:
    """The pixels as a camera stores them, so that `QUADRANTS` of this size are seen once they are turned."""
    row_side, column_side = EXIF_SIDES[orientation]
    stored_size = (height, width) if orientation > 4 else (width, height)
    half = (stored_size[0] // 2, stored_size[1] // 2)
    image = Image.new("RGB", stored_size)
    for row in (0, 1):
        for column in (0, 1):
            sides = {_OPPOSITE[row_side] if row else row_side, _OPPOSITE[column_side] if column else column_side}
            colour = QUADRANTS[("bottom" in sides) * 2 + ("right" in sides)]
            image.paste(colour, (column * half[0], row * half[1], *stored_size))
    return image


def exif(orientation: int, canary: str = "") -> Image.Exif:
    """An EXIF block with this orientation, and a maker's name to be searched for."""
    block = Image.Exif()
    block[0x0112] = orientation
    if canary:
        block[0x010F] = canary
    return block


def quadrant_colours(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middles of the four quadrants, as RGB."""
    plain = image.convert("RGB")
    wide, high = plain.size
    places = [(wide // 4, high // 4), (3 * wide // 4, high // 4), (wide // 4, 3 * high // 4)]
    found = [plain.getpixel(place) for place in (*places, (3 * wide // 4, 3 * high // 4))]
    return [tuple(value) for value in found if isinstance(value, Sequence)]


def judged(prepared: PreparedImage, *, many: bool = False, limit: int = 5_242_880) -> tuple[SeenImage, int]:
    """What the stand-in sees in a prepared image, by its own checks, and its visual tokens on the standard tier."""
    data = b64encode(prepared.body).decode()
    source = {"type": "base64", "media_type": prepared.record.sent_media_type, "data": data}
    model = find_model("claude-sonnet-4-5-20250929")
    assert model is not None
    return look({"type": "image", "source": source}, "messages.0.content.0.image", many, limit, model)


def png_chunk(kind: bytes, contents: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def png_with(png: bytes, *chunks: bytes) -> bytes:
    """The file with these chunks right behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def png_claiming(width: int, height: int, *, colour_type: int = 0, depth: int = 8, padding: int = 0) -> bytes:
    """A PNG whose header claims this size, with nearly no pixels in it."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(16)) + bytes(padding))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def tiny_webp(width: int, height: int) -> bytes:
    """A complete lossless WebP of one colour, in a few bytes, of up to 16384 x 16384 px."""
    one = bytearray(encoded(Image.new("RGB", (1, 1), "navy"), "WEBP", lossless=True))
    bits = (width - 1) | (height - 1) << 14 | (int.from_bytes(one[21:25], "little") & 0xF0000000)
    one[21:25] = struct.pack("<I", bits)
    return bytes(one)


def jpeg_with(jpeg: bytes, marker: int, *contents: bytes) -> bytes:
    """The file with segments of this marker right behind its start."""
    segments = (struct.pack(">BBH", 0xFF, marker, len(one) + 2) + one for one in contents)
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def swapping_profile() -> bytes:
    """An ICC profile in which red is what sRGB calls green, and green what it calls red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = profile.replace("sRGB".encode("utf-16-be"), "Swap".encode("utf-16-be"))
    table = renamed[:512].replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")
    return table + renamed[512:]


def opened(prepared: PreparedImage) -> Image.Image:
    """The sent file, decoded."""
    image = Image.open(BytesIO(prepared.body))
    image.load()
    return image
