"""Opening hostile bytes: which formats are read at all, what is looked at before decoding, which errors mean what.

The allow-list is passed to every `Image.open`, so that no plugin outside it is asked (Pillow's EPS plugin starts
Ghostscript). Its plugins are imported here: left to Pillow, they are registered at the first file of a rarer format,
and a thread that opens another one at that moment is told that it is no image. Sizes are checked on the header,
before any pixel is decoded.

Two settings of Pillow and Python are process-wide, and many threads decode at once, so neither is swapped around a
call, as `warnings.catch_warnings` does: a filter that silences Pillow's warnings stays from the first image on, and
Pillow's own limit on pixels is lifted, never lowered, where `images.max_pixels` passes it.

A third is set once: Pillow asks for memory in blocks of 64 MiB instead of 16. The C library hands blocks over 32 MiB
back to the system when they are freed, whereas it keeps smaller ones, for each thread: 700 MB after one large picture.
Two blocks are kept by Pillow itself, 128 MB at most: without them a fifth of a JPEG's CPU went into asking the system
for the same memory again for every picture.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from threading import Lock

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from pipeline.errors import ErrorType, ImageError
from pipeline.images.containers import metadata_excess, png_has_exif

__all__ = ["FORMATS", "ImageHeader", "decoding", "header_of", "open_image", "read_header"]

_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    GifImagePlugin.GifImageFile,
    WebPImagePlugin.WebPImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    AvifImagePlugin.AvifImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
)
FORMATS = tuple(plugin.format for plugin in _PLUGINS)
"""Pillow's names of what is read. It opens an MPO (several JPEGs in one file) as JPEG, then calls it so."""

_MPO = MpoImagePlugin.MpoImageFile.format
_MEDIA_TYPES = {"JPEG2000": "image/jp2", _MPO: "image/jpeg"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|RIFF....WEBP|....ftypavi[fs]|\0\0\0\x0cjP  |\xff\x4f\xff\x51", re.DOTALL
)
"""How files begin that are damaged where Pillow does not open them; BMP's two letters are too few to tell."""
_TURNED = (5, 6, 7, 8)
_PNG_ORIENTATIONS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp")
_BLANK_PIXELS = 50_000_000
_BLANK_PIXELS_PER_BYTE = 10_000
"""More than deflate can pack of black and white; only a blank picture does. A WebP of 84 megapixels takes 38 bytes."""
_FROM_PILLOW = re.compile(r"PIL\.")
_SILENCE = ("ignore", None, Warning, _FROM_PILLOW, 0)
_process_wide = Lock()
_BLOCK_BYTES, _KEPT_BLOCKS = 64 * 1024 * 1024, 2
Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]  # Pillow documents it, and does not export it
Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of a file before its pixels are decoded.

    Attributes:
        format: Pillow's name; `JPEG` for MPO.
        media_type: of the file as it is.
        width: px, as seen: after the EXIF orientation.
        height: px, likewise.
        orientation: what is left to do to the decoded pixels, as an EXIF orientation, 1 to 8.
        several: whether it is an animation or has many pages.
    """

    format: str
    media_type: str
    width: int
    height: int
    orientation: int
    several: bool


def read_header(source: str, raw: bytes, *, max_bytes: int, max_pixels: int) -> ImageHeader:
    """Format, size and orientation, without decoding pixels.

    A PNG whose EXIF data stand behind the pixels is decoded all the same: Pillow knows no other way there.

    Raises:
        ImageError: `image_too_large`, `image_unsupported` or `image_corrupt`.
    """
    with open_image(source, raw, max_bytes=max_bytes, max_pixels=max_pixels) as image:
        return header_of(source, image, raw)


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
    excess = metadata_excess(raw)
    if excess:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{source}: {excess}")
    _lift_pillows_limit(max_pixels)
    with decoding(source):
        image = _identify(source, raw)
    with image:
        _check_size(source, image.size, len(raw), max_pixels)
        yield image


def header_of(source: str, image: Image.Image, raw: bytes) -> ImageHeader:
    """The header of an opened file."""
    with decoding(source):
        orientation = _orientation(image, raw)
        several = image.format != _MPO and bool(getattr(image, "is_animated", False))
    width, height = image.size
    if orientation in _TURNED:
        width, height = height, width
    name = image.format or ""
    media_type = _MEDIA_TYPES.get(name) or Image.MIME.get(name, "application/octet-stream")
    return ImageHeader("JPEG" if name == _MPO else name, media_type, width, height, orientation, several)


@contextmanager
def decoding(source: str) -> Iterator[None]:
    """Turns what a decoder raises into an `ImageError` of this image alone; Pillow's warnings are not the user's."""
    _silence_pillow()
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(
            ErrorType.IMAGE_TOO_LARGE, f"{source}: too large to decode (see images.max_pixels): {_reason(error)}"
        ) from error
    except Exception as error:
        # The one broad catch: what decoders raise on hostile bytes has no bound, and costs this image alone.
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: cannot be decoded: {_reason(error)}") from error


def _check_size(source: str, size: tuple[int, int], raw_bytes: int, max_pixels: int) -> None:
    width, height = size
    shape = f"{source}: {width} x {height} px"
    if width < 1 or height < 1:
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{shape} is no image")
    pixels = width * height
    if pixels > max_pixels:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{shape}; images.max_pixels allows {max_pixels}")
    if pixels > _BLANK_PIXELS and pixels > _BLANK_PIXELS_PER_BYTE * raw_bytes:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{shape} in {raw_bytes} bytes: blank, or a decompression bomb")


def _identify(source: str, raw: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError:
        if raw[4:8] == b"ftyp" and raw[8:12] in _HEIF_BRANDS:
            return _open_heif(source, raw)
        if _SIGNATURES.match(raw):
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: the file's header is damaged") from None
        raise ImageError(
            ErrorType.IMAGE_UNSUPPORTED,
            f"{source}: not an image that is read here: JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF, JPEG 2000, HEIC",
        ) from None


def _open_heif(source: str, raw: bytes) -> Image.Image:
    try:
        extra = import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            ErrorType.IMAGE_UNSUPPORTED, f"{source}: HEIC needs an extra: pip install 'pipeline[heic]'"
        ) from None
    extra.register_heif_opener()
    return Image.open(BytesIO(raw), formats=("HEIF",))


def _orientation(image: Image.Image, raw: bytes) -> int:
    if image.format == "TIFF":
        return 1  # Pillow's `size` has it already, and `load` turns the pixels
    if image.format == "PNG" and not png_has_exif(raw) and not any(key in image.info for key in _PNG_ORIENTATIONS):
        return 1  # `getexif` would decode the pixels to look behind them
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _silence_pillow() -> None:
    """Looks at every call: whoever swapped the process's filters meanwhile (a test runner) has dropped ours."""
    if _SILENCE in warnings.filters:
        return
    with _process_wide:
        if _SILENCE not in warnings.filters:
            warnings.filterwarnings("ignore", module=_FROM_PILLOW.pattern)


def _lift_pillows_limit(max_pixels: int) -> None:
    """Pillow refuses twice its own limit inside `Image.open`, whatever `images.max_pixels` says."""
    with _process_wide:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and 2 * limit < max_pixels:
            Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
