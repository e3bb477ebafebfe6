"""A part of a picture at its full resolution, for text that is too small once the whole has been shrunk.

CPU-bound and thread-safe, like `prepare`, which makes the part ready to send. The whole picture is decoded for it.
"""

from io import BytesIO

from PIL import Image, ImageOps

from pipeline.errors import ErrorType, ImageError
from pipeline.images.colour import flattened, to_srgb
from pipeline.images.memory import most_bytes
from pipeline.images.opening import decoding, open_image
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.records import PreparedImage

__all__ = ["Box", "crop"]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of an upright picture, as shares of its width and height."""
_BYTES_A_PIXEL = 12
_LEAST_PX = 28


def crop(source: str, raw: bytes, box: Box, settings: PrepareSettings) -> PreparedImage:
    """The part of a picture within the box, at least 28 px wide and high where the picture is.

    Raises:
        ImageError: `image_too_large`, `image_unsupported` or `image_corrupt`, naming the source.
    """
    with open_image(source, raw, max_bytes=settings.max_bytes, max_pixels=settings.max_pixels) as image:
        if image.width * image.height * _BYTES_A_PIXEL > most_bytes(settings.max_pixels):
            raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{source}: too large to be decoded at full resolution")
        with decoding(source):
            image.load()
            upright = ImageOps.exif_transpose(image)
            part = upright.crop(_pixels(box, upright.size))
            picture, _ = to_srgb(flattened(part)[0], image.info.get("icc_profile"))
            sink = BytesIO()
            Image.Image.save(picture, sink, "PNG", compress_level=1)
    return prepare(f"{source} (part)", sink.getvalue(), settings)


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, right = _span(box[0], box[2], size[0])
    top, bottom = _span(box[1], box[3], size[1])
    return left, top, right, bottom


def _span(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole pixels of one side, widened to the least that is worth a look."""
    low, high = sorted((round(start * length), round(end * length)))
    least = min(_LEAST_PX, length)
    low = max(0, min(low, length - least))
    return low, min(length, max(high, low + least))
