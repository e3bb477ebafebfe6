"""A part of a picture at its full resolution: the right pixels, upright, and ready to send."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import QUADRANTS, encoded, quadrants, smooth

from pipeline.errors import ImageError
from pipeline.images.cropping import Box, crop
from pipeline.images.geometry import Bounds
from pipeline.images.prepare import PrepareSettings
from pipeline.records import PreparedImage

SETTINGS = PrepareSettings()
QUARTERS: list[Box] = [(0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1)]


def opened(part: PreparedImage) -> Image.Image:
    """The pixels that would be sent."""
    return Image.open(BytesIO(part.body)).convert("RGB")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("quarter", range(4))
def test_a_quarter_is_the_quarter_s_own_colour(quarter: int, name: str) -> None:
    """By shares of width and height, in every format, with its size as it is in the file."""
    part = crop("a", encoded(quadrants(400, 300), name), QUARTERS[quarter], SETTINGS)
    assert (part.record.sent_width, part.record.sent_height) == (200, 150)
    seen = opened(part).getpixel((100, 75))
    assert isinstance(seen, tuple)
    assert all(abs(one - other) < 12 for one, other in zip(seen, QUADRANTS[quarter], strict=True))


def test_the_part_is_taken_from_the_upright_picture() -> None:
    """The model saw it upright, so it asks by that: a camera's rotation is undone first."""
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    part = crop("a", encoded(quadrants(400, 300), "JPEG", exif=exif, quality=95), QUARTERS[0], SETTINGS)
    seen = opened(part).getpixel((100, 75))
    assert isinstance(seen, tuple)
    assert all(abs(one - other) < 12 for one, other in zip(seen, QUADRANTS[3], strict=True))


def test_a_part_is_sharper_than_the_whole_was_sent() -> None:
    """A sixteenth of a large picture keeps all its pixels; a part too large for the model is shrunk as any image."""
    raw = encoded(smooth(4000, 3000), "PNG")
    assert crop("a", raw, (0, 0, 0.25, 0.25), SETTINGS).record.sent_width == 1000
    small = PrepareSettings(bounds=Bounds(280, 100))
    assert (crop("a", raw, (0, 0, 1, 1), small).record.sent_width or 0) <= 280


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    box=st.tuples(*[st.floats(0, 1, allow_nan=False)] * 4),
)
def test_every_box_gives_a_part_within_the_picture(size: tuple[int, int], box: Box) -> None:
    """Never empty, never larger than the picture, at least 28 px where the picture has so many."""
    part = crop("a", encoded(quadrants(*size), "PNG"), box, SETTINGS)
    for sent, whole in zip((part.record.sent_width, part.record.sent_height), size, strict=True):
        assert sent is not None
        assert min(28, whole) <= sent <= whole


def test_what_cannot_be_decoded_is_an_image_error() -> None:
    """Torn, or too large to be decoded whole."""
    with pytest.raises(ImageError, match="torn"):
        crop("torn", encoded(smooth(300, 200))[:900], (0, 0, 1, 1), SETTINGS)
    with pytest.raises(ImageError, match="max_pixels"):
        crop("a", encoded(quadrants(400, 300)), (0, 0, 1, 1), PrepareSettings(max_pixels=1000))
