"""One image made ready to send: decoded scaled, turned upright, in sRGB, shrunk, encoded, with nothing else in it.

What is sent is always JPEG, PNG, GIF or WebP under the API's limits, and carries no metadata, profile or trailing
byte. A file that already is all of that passes through untouched. Transparent pixels are composited on white: the
model sees no alpha, and white is what pages and viewers show behind it. Pictures from lossless files with few colours
(text, line art) stay lossless PNG; everything else becomes JPEG.

CPU-bound and thread-safe; Pillow and the resizer release the GIL while they decode, shrink and encode. A JPEG is
decoded scaled, to at least the size that is sent and under four times its pixels where the scales 1/2, 1/4 and 1/8
reach; the other formats are decoded whole. What that takes is estimated before (`memory`), and refused where it is too
much.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO

from PIL import Image, ImageChops

from pipeline.errors import ErrorType, ImageError
from pipeline.images.colour import flattened, to_srgb
from pipeline.images.containers import is_clean, jpeg_skeleton
from pipeline.images.geometry import (
    MAX_BASE64_BYTES,
    MAX_SIDE_PX,
    PATCH_PX,
    STANDARD,
    Bounds,
    base64_length,
    tight_shrink,
)
from pipeline.images.memory import decode_bytes, most_bytes
from pipeline.images.opening import ImageHeader, decoding, header_of, open_image
from pipeline.images.resizing import shrunk
from pipeline.records import ImageRecord, PreparedImage

__all__ = ["PrepareSettings", "need_bytes", "prepare"]

SMALL_EDGE_PX = 200
_LEAST_EDGE_PX = 28
_SENDABLE = ("JPEG", "PNG", "GIF", "WEBP")
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF", "WEBP")
_FALLBACK_QUALITIES = (70, 50)
_SAMPLE_PX = 96
_FEW_COLOURS = 2048
_MAIN_COLOURS = 16
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How images are prepared in one run.

    Attributes:
        bounds: what images are shrunk to.
        quality: of JPEG encoding, 1 to 100.
        max_bytes: of the original file; larger ones are refused.
        max_pixels: of the original; larger ones are refused before decoding.
        max_base64_bytes: what an encoded image may take as base64 text.
        max_side_px: the longest side that the service takes.
        thumbnail_edge: px of the longer side of a WebP thumbnail; 0 for none.
    """

    bounds: Bounds = STANDARD
    quality: int = 85
    max_bytes: int = 50_000_000
    max_pixels: int = 178_956_970
    max_base64_bytes: int = MAX_BASE64_BYTES
    max_side_px: int = MAX_SIDE_PX
    thumbnail_edge: int = 0


def prepare(source: str, raw: bytes, settings: PrepareSettings) -> PreparedImage:
    """The image as it is sent, with its row of the `images` column.

    Args:
        source: what the image is called in the dataset and in messages.
        raw: the original file.
        settings: bounds and quality.

    Raises:
        ImageError: `image_too_large`, `image_unsupported` or `image_corrupt`, naming the source.
    """
    with open_image(source, raw, max_bytes=settings.max_bytes, max_pixels=settings.max_pixels) as image:
        header = header_of(source, image, raw)
        size = _target(header, settings)
        _ensure_memory(source, raw, size, settings)
        warnings = _warnings(header, size)
        with decoding(source):
            if _passes(header, image, raw, settings):
                _prove(image, raw)
                picture, sent = None, _Encoded(raw, header.media_type, size)
            else:
                picture, more = _picture(image, header, size)
                warnings = (*warnings, *more)
                sent = _encode(source, picture, header, settings)
        thumbnail = _thumbnail(source, raw, picture, settings.thumbnail_edge) if settings.thumbnail_edge else None
    return PreparedImage(sent.body, _record(source, raw, header, sent, warnings), thumbnail)


def need_bytes(raw: bytes, settings: PrepareSettings) -> int | None:
    """About how much memory `prepare` will take beside the file, before anything is decoded; `None` for all of it."""
    return decode_bytes(raw, PATCH_PX**2 * settings.bounds.max_tokens)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A file that can be sent: its bytes, media type, and (width, height) in px."""

    body: bytes
    media_type: str
    size: tuple[int, int]


def _record(source: str, raw: bytes, header: ImageHeader, sent: _Encoded, warnings: tuple[str, ...]) -> ImageRecord:
    digest = sha256(raw).hexdigest()
    return ImageRecord(
        source=source,
        sha256=digest,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        bytes=len(raw),
        sent_sha256=digest if sent.body is raw else sha256(sent.body).hexdigest(),
        sent_media_type=sent.media_type,
        sent_width=sent.size[0],
        sent_height=sent.size[1],
        sent_bytes=len(sent.body),
        warnings=warnings,
    )


def _target(header: ImageHeader, settings: PrepareSettings) -> tuple[int, int]:
    bounds = replace(settings.bounds, max_edge=min(settings.bounds.max_edge, settings.max_side_px))
    return tight_shrink(header.width, header.height, bounds)


def _ensure_memory(source: str, raw: bytes, size: tuple[int, int], settings: PrepareSettings) -> None:
    need, most = decode_bytes(raw, size[0] * size[1]), most_bytes(settings.max_pixels)
    if need is not None and need > most:
        text = f"{source}: decoding it takes about {need / 1e9:.1f} GB"
        remedy = f"at most {most / 1e9:.1f} GB are given to one image; a larger images.max_pixels gives more"
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{text}; {remedy}")


def _warnings(header: ImageHeader, size: tuple[int, int]) -> tuple[str, ...]:
    found = []
    if min(header.width, header.height) < SMALL_EDGE_PX:
        found.append("small_edge")
    if max(header.width, header.height) > 4 * max(size):
        found.append("shrunk_over_4x")
    if header.several:
        found.append("multipage" if header.format == "TIFF" else "animated")
    return tuple(found)


def _passes(header: ImageHeader, image: Image.Image, raw: bytes, settings: PrepareSettings) -> bool:
    """Whether the file can be sent as it is."""
    return (
        header.format in _SENDABLE
        and header.orientation == 1
        and not header.several
        and image.mode in ("RGB", "L", "P", "1")
        and "transparency" not in image.info
        and _target(header, settings) == image.size
        and base64_length(len(raw)) <= settings.max_base64_bytes
        and is_clean(header.format, raw)
    )


def _prove(image: Image.Image, raw: bytes) -> None:
    """Decodes the file to see that it can be decoded; of a JPEG, what decides that."""
    skeleton = jpeg_skeleton(raw) if image.format == "JPEG" else None
    if skeleton is None:
        image.load()
        return
    with Image.open(BytesIO(skeleton), formats=("JPEG",)) as bones:
        bones.draft("L", (1, 1))
        bones.load()


def _picture(image: Image.Image, header: ImageHeader, size: tuple[int, int]) -> tuple[Image.Image, tuple[str, ...]]:
    """The pixels to send: scaled decode, shrunk before anything dearer, in sRGB, turned upright."""
    stored = size[::-1] if header.orientation in (5, 6, 7, 8) else size
    image.draft(None, stored)  # JPEG alone heeds it
    image.load()
    spare = min(image.width // stored[0], image.height // stored[1])
    picture, warnings = flattened(image, max(1, spare // 2))
    picture, more = to_srgb(shrunk(picture, stored), image.info.get("icc_profile"))
    if header.orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[header.orientation])
    return picture, (*warnings, *more)


def _encode(source: str, picture: Image.Image, header: ImageHeader, settings: PrepareSettings) -> _Encoded:
    """The picture as a file under the limit; quality gives way first, then size.

    Raises:
        ImageError: `image_too_large`, where a thumbnail would still be too many bytes.
    """
    if header.format in _LOSSLESS and _is_drawn(picture):
        # What was shrunk has soft edges, in which a longer search finds nothing: level 3 is even the smaller here.
        level = 6 if picture.size == (header.width, header.height) else 3
        lossless = _saved(_without_colours(picture), "PNG", compress_level=level)
        if base64_length(len(lossless)) <= settings.max_base64_bytes:
            return _Encoded(lossless, "image/png", picture.size)
    qualities = (settings.quality, *(lower for lower in _FALLBACK_QUALITIES if lower < settings.quality))
    while True:
        for quality in qualities:
            lossy = _saved(picture, "JPEG", quality=quality)
            if base64_length(len(lossy)) <= settings.max_base64_bytes:
                return _Encoded(lossy, "image/jpeg", picture.size)
        if max(picture.size) < _LEAST_EDGE_PX:
            raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{source}: cannot be encoded small enough to send")
        picture = shrunk(picture, (max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)))


def _is_drawn(picture: Image.Image) -> bool:
    """Whether a coarse sample shows text or line art: half of it from a handful of colours, and few others.

    Dense pages of soft-edged text have up to 1,400 colours in the sample and two thirds in the handful; photographs
    have thousands and under a third, grey ones fewer colours and under a half.
    """
    sample = picture.resize((_SAMPLE_PX, _SAMPLE_PX), Image.Resampling.NEAREST)
    colours = sample.getcolors(_FEW_COLOURS)
    if colours is None:
        return False
    counts = sorted((count for count, _ in colours), reverse=True)
    return 2 * sum(counts[:_MAIN_COLOURS]) >= _SAMPLE_PX * _SAMPLE_PX


def _without_colours(picture: Image.Image) -> Image.Image:
    """In mode `L` where all is grey, as most pages are: half the bytes, half the CPU, the same pixels."""
    if picture.mode != "RGB":
        return picture
    red, green, blue = picture.split()
    coloured = any(ImageChops.difference(red, other).getbbox() for other in (green, blue))
    return picture if coloured else red


def _saved(picture: Image.Image, name: str, **options: int | bool) -> bytes:
    sink = BytesIO()
    picture.info = {}  # Pillow writes comments, profiles and resolution from there
    picture.save(sink, name, **options)
    return sink.getvalue()


def _thumbnail(source: str, raw: bytes, picture: Image.Image | None, edge: int) -> bytes:
    """A WebP of the picture that was encoded, else of the file that passed."""
    with decoding(source), ExitStack() as stack:
        if picture is None:
            picture = stack.enter_context(Image.open(BytesIO(raw), formats=_SENDABLE))
            picture.draft("RGB", (edge, edge))
        small = picture.convert("RGB")
        long = max(small.size)
        if long > edge:
            small = shrunk(small, (max(1, small.width * edge // long), max(1, small.height * edge // long)))
        return _saved(small, "WEBP", quality=75)
