"""Peeking: the size in the header is found without a decoder, and never underestimated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.image_files import exif, jpeg_with, png_claiming, tiny_webp
from support.pictures import encoded, smooth

from pipeline.errors import ImageError
from pipeline.images.opening import read_header
from pipeline.images.peeking import peek

FILES = {
    "JPEG": encoded(smooth(321, 123)),
    "JPEG grey": encoded(smooth(321, 123).convert("L")),
    "JPEG CMYK": encoded(smooth(321, 123).convert("CMYK")),
    "JPEG progressive": encoded(smooth(321, 123), progressive=True),
    "JPEG with a thumbnail": jpeg_with(
        encoded(smooth(321, 123)), 0xE1, b"Exif\0\0" + encoded(smooth(4000, 3000))[:9000]
    ),
    "JPEG laden": jpeg_with(encoded(smooth(321, 123)), 0xE2, *[bytes(60_000)] * 40),
    "PNG": encoded(smooth(321, 123), "PNG"),
    "GIF": encoded(smooth(321, 123), "GIF"),
    "WEBP": encoded(smooth(321, 123), "WEBP"),
    "WEBP lossless": encoded(smooth(321, 123), "WEBP", lossless=True),
    "WEBP extended": encoded(smooth(321, 123), "WEBP", exif=exif(1)),
    "BMP": encoded(smooth(321, 123), "BMP"),
    "TIFF": encoded(smooth(321, 123), "TIFF"),
    "TIFF compressed": encoded(smooth(321, 123), "TIFF", compression="tiff_lzw"),
    "TIFF of long numbers": encoded(smooth(321, 123), "TIFF", big_tiff=False),
    "JPEG2000": encoded(smooth(321, 123), "JPEG2000"),
    "JPEG2000 codestream": encoded(smooth(321, 123), "JPEG2000", no_jp2=True),
    "AVIF": encoded(smooth(321, 123), "AVIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_tells_its_size(name: str) -> None:
    """Width and height are those of the stored picture, not of a thumbnail within."""
    shape = peek(FILES[name])
    assert shape is not None
    assert (shape.width, shape.height) == (321, 123)
    assert name.startswith(shape.name) or (name, shape.name) == ("AVIF", "HEIF")


def test_what_decoders_keep_is_told_apart() -> None:
    """A JPEG in several scans keeps its coefficients, by its channels and their sampling; one in a single scan none."""
    kept = {name: shape.kept for name, raw in FILES.items() if (shape := peek(raw))}
    assert kept["JPEG"] == kept["JPEG grey"] == kept["JPEG CMYK"] == 0
    full = peek(encoded(smooth(64, 64), progressive=True, subsampling=0))
    assert full is not None
    assert full.kept == 2 * kept["JPEG progressive"] > 6
    assert kept["WEBP"] > 16
    assert [peek(encoded(Image.new(mode, (9, 9)), "PNG")).kept for mode in ("L", "P", "RGB", "I;16")] == [1, 1, 4, 2]  # type: ignore[union-attr]


def test_bombs_are_seen_for_what_they_claim() -> None:
    """The claim of a header counts, however small the file."""
    for raw in (png_claiming(30_000, 30_000), tiny_webp(16_000, 9_000)):
        shape = peek(raw)
        assert shape is not None
        assert shape.pixels >= 144_000_000


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xd8", b"\x89PNG", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"x" * 99]
)
def test_what_tells_nothing_is_none(raw: bytes) -> None:
    """A signature alone, or none, has no shape."""
    assert peek(raw) is None


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([name for name in FILES if name != "JPEG laden"]), st.data())
def test_garbled_heads_are_no_error_and_no_underestimate(name: str, data: st.DataObject) -> None:
    """Whatever bytes are changed in the head: no exception, and no fewer pixels than the decoder would make."""
    raw = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(300, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    shape = peek(bytes(raw))
    try:
        header = read_header("x", bytes(raw), max_bytes=10**7, max_pixels=10**7)
    except ImageError:
        return
    assert shape is None or shape.pixels >= header.width * header.height
