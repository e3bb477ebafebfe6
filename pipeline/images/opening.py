"""Opening hostile bytes: which formats are read at all, what is looked at before decoding, which errors mean what.

The allow-list is passed to every `Image.open`, so that no plugin outside it is asked (Pillow's EPS plugin starts
Ghostscript). Sizes are checked on the header, before any pixel is decoded.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image, UnidentifiedImageError

from pipeline.errors import ErrorType, ImageError

__all__ = ["FORMATS", "ImageHeader", "decoding", "open_image", "read_header"]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "MPO")
_MEDIA_TYPES = {"JPEG2000": "image/jp2", "MPO": "image/jpeg"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")
_TURNED = (5, 6, 7, 8)
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    RecursionError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of a file before its pixels are decoded.

    Attributes:
        format: Pillow's name.
        width: px, as seen: after the EXIF orientation.
        height: px, likewise.
        orientation: EXIF orientation, 1 to 8; 1 where there is none.
        frames: of an animation or a multi-page file.
    """

    format: str
    media_type: str
    width: int
    height: int
    orientation: int
    frames: int


def read_header(source: str, raw: bytes, *, max_bytes: int, max_pixels: int) -> ImageHeader:
    """Format, size and orientation, without decoding pixels.

    Raises:
        ImageError: `image_too_large`, `image_unsupported` or `image_corrupt`.
    """
    with open_image(source, raw, max_bytes=max_bytes, max_pixels=max_pixels) as image:
        return header_of(source, image)


@contextmanager
def open_image(source: str, raw: bytes, *, max_bytes: int, max_pixels: int) -> Iterator[Image.Image]:
    """The file, opened and not decoded, its size checked.

    Raises:
        ImageError: as `read_header`.
    """
    if not raw:
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: the file is empty")
    if len(raw) > max_bytes:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{source}: {len(raw)} bytes; images.max_bytes allows {max_bytes}")
    with decoding(source):
        image = _identify(source, raw)
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                ErrorType.IMAGE_TOO_LARGE,
                f"{source}: {width} x {height} px; images.max_pixels allows {max_pixels}",
            )
        if width < 1 or height < 1:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: {width} x {height} px is no image")
        yield image


def header_of(source: str, image: Image.Image) -> ImageHeader:
    """The header of an opened file."""
    with decoding(source):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        frames = int(getattr(image, "n_frames", 1)) if image.format in ("GIF", "WEBP", "TIFF", "AVIF", "PNG") else 1
    if orientation not in range(1, 9):
        orientation = 1
    width, height = image.size
    if orientation in _TURNED:
        width, height = height, width
    name = image.format or ""
    media_type = _MEDIA_TYPES.get(name) or Image.MIME.get(name, "application/octet-stream")
    return ImageHeader("JPEG" if name == "MPO" else name, media_type, width, height, orientation, frames)


@contextmanager
def decoding(source: str) -> Iterator[None]:
    """Turns what a decoder raises into an `ImageError` of this image alone; Pillow's warnings are not the user's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{source}: too large to decode: {_reason(error)}") from error
    except _BROKEN as error:
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: cannot be decoded: {_reason(error)}") from error


def _identify(source: str, raw: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError:
        if raw[4:8] == b"ftyp" and raw[8:12] in _HEIF_BRANDS:
            return _open_heif(source, raw)
        if _looks_known(raw):
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: the file's header is damaged") from None
        raise ImageError(
            ErrorType.IMAGE_UNSUPPORTED,
            f"{source}: not an image of a known format; allowed: JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF, JPEG 2000, HEIC",
        ) from None


def _open_heif(source: str, raw: bytes) -> Image.Image:
    try:
        from pillow_heif import register_heif_opener  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ImageError(
            ErrorType.IMAGE_UNSUPPORTED, f"{source}: HEIC needs an extra: pip install 'pipeline[heic]'"
        ) from None
    register_heif_opener()
    return Image.open(BytesIO(raw), formats=("HEIF",))


def _looks_known(raw: bytes) -> bool:
    return raw.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")) or (
        raw[:4] == b"RIFF" and raw[8:12] == b"WEBP"
    )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
