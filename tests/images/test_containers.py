"""The outer shape of files: clean ones, everything that makes one unclean, and metadata past all measure."""

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.image_files import exif, jpeg_with, png_chunk, png_with
from support.pictures import encoded, quadrants, smooth

from pipeline.images.containers import is_clean, jpeg_skeleton, metadata_excess, png_has_exif

JPEG = encoded(smooth(64, 48))
PNG = encoded(quadrants(), "PNG")
WEBP = encoded(smooth(64, 48), "WEBP")
GIF = encoded(quadrants(), "GIF")
CLEAN = {
    "JPEG": JPEG,
    "JPEG progressive": encoded(smooth(64, 48), progressive=True),
    "JPEG grey": encoded(smooth(64, 48).convert("L")),
    "JPEG with restarts": encoded(smooth(64, 48), restart_marker_rows=1),
    "PNG": PNG,
    "PNG palette": encoded(quadrants().quantize(4), "PNG"),
    "WEBP": WEBP,
    "WEBP lossless": encoded(smooth(64, 48), "WEBP", lossless=True),
    "GIF": GIF,
}


def _webp_chunk(kind: bytes, contents: bytes) -> bytes:
    return kind + struct.pack("<I", len(contents)) + contents + b"\0" * (len(contents) % 2)


def _riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


UNCLEAN = {
    "JPEG EXIF": encoded(smooth(64, 48), exif=exif(1)),
    "JPEG comment": encoded(smooth(64, 48), comment=b"hello"),
    "JPEG profile": encoded(smooth(64, 48), icc_profile=b"profile"),
    "JPEG XMP": jpeg_with(JPEG, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
    "JPEG APP11": jpeg_with(JPEG, 0xEB, b"JP provenance"),
    "JPEG APP15": jpeg_with(JPEG, 0xEF, b"maker"),
    "JPEG JFIF with a thumbnail": JPEG[:2] + b"\xff\xe0\0\x13JFIF\0\1\1\0\0\1\0\1\1\1\1\2\3" + JPEG[20:],
    "JPEG JFXX": jpeg_with(JPEG, 0xE0, b"JFXX\0\x10secrets__"),
    "JPEG text in Adobe's segment": jpeg_with(JPEG, 0xEE, b"Adobe" + b"x" * 40),
    "JPEG reserved marker": jpeg_with(JPEG, 0xF0, b"anything"),
    "JPEG trailing": JPEG + b"PK\3\4",
    "JPEG twice": JPEG + JPEG,
    "JPEG without its end": JPEG[:-2],
    "PNG text": png_with(PNG, png_chunk(b"tEXt", b"Author\0someone")),
    "PNG EXIF": encoded(quadrants(), "PNG", exif=exif(1)),
    "PNG private chunk": png_with(PNG, png_chunk(b"prVt", b"x")),
    "PNG text in a colour chunk": png_with(PNG, png_chunk(b"bKGD", b"x" * 400)),
    "PNG trailing": PNG + b"\0",
    "PNG without its end": PNG[:-12],
    "WEBP extended": encoded(smooth(64, 48), "WEBP", exif=exif(1)),
    "WEBP chunk behind the pixels": _riff(WEBP[12:], _webp_chunk(b"EXIF", b"GPS here")),
    "WEBP trailing": WEBP + b"xx",
    "GIF comment": encoded(quadrants(), "GIF", comment=b"hello"),
    "GIF animated": encoded(
        quadrants(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "teal")], loop=0
    ),
    "GIF trailing": GIF + b"\0",
    "GIF without its end": GIF[:-1],
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_file_with_the_picture_alone_is_clean(name: str) -> None:
    """What an encoder writes of pixels alone may pass through."""
    assert is_clean(name.split(maxsplit=1)[0], CLEAN[name])


@pytest.mark.parametrize("name", UNCLEAN)
def test_a_file_with_anything_else_is_not_clean(name: str) -> None:
    """Metadata, foreign bytes inside or behind, and a missing end keep a file from passing through."""
    assert not is_clean(name.split(maxsplit=1)[0], UNCLEAN[name])


@pytest.mark.parametrize("name", ["TIFF", "BMP", "AVIF", ""])
def test_formats_that_are_not_sent_are_never_clean(name: str) -> None:
    """Only what the service takes can be clean."""
    assert not is_clean(name, PNG)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(CLEAN)), st.data())
def test_every_cut_of_a_clean_file_is_not_clean(name: str, data: st.DataObject) -> None:
    """Wherever a file ends early, it is not clean, and finding that out raises nothing."""
    raw = CLEAN[name]
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert not is_clean(name.split(maxsplit=1)[0], raw[:cut])


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(CLEAN)), st.binary(max_size=200), st.data())
def test_overwritten_bytes_never_raise(name: str, noise: bytes, data: st.DataObject) -> None:
    """Garbled files get an answer of both questions, whatever stands in them."""
    raw = bytearray(CLEAN[name])
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + len(noise)] = noise
    assert is_clean(name.split(maxsplit=1)[0], bytes(raw)) in (True, False)
    assert metadata_excess(bytes(raw)) is None


@pytest.mark.parametrize("name", [*CLEAN, *UNCLEAN])
def test_ordinary_files_have_no_excess_of_metadata(name: str) -> None:
    """Neither clean files nor those with everyday metadata are refused for it."""
    assert metadata_excess({**CLEAN, **UNCLEAN}[name]) is None


EXCESSES = {
    "JPEG of many comments": jpeg_with(JPEG, 0xFE, *[b""] * 5000),
    "JPEG of bare markers": JPEG[:2] + b"\xff\xd0" * 5000 + JPEG[2:],
    "JPEG of long EXIF": jpeg_with(JPEG, 0xE1, *[b"Exif\0\0" + bytes(65_000)] * 300),
    "JPEG of junk": JPEG[:3] + bytes(17_000_000) + JPEG[2:],
    "PNG of small chunks": png_with(PNG, *[png_chunk(b"tEXt", b"a\0b")] * 2000),
    "PNG of profiles": png_with(PNG, *[png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1_000_000)))] * 1100),
    "PNG of pixels in shreds": png_with(PNG, *[png_chunk(b"IDAT", b"")] * 100_001),
}


@pytest.mark.parametrize("name", EXCESSES)
def test_metadata_past_all_measure_is_named(name: str) -> None:
    """Files that would cost a decoder minutes of reading metadata are told by their outer shape."""
    assert "over" in (metadata_excess(EXCESSES[name]) or "")


def test_large_but_real_metadata_are_no_excess() -> None:
    """A 6 MB depth map in XMP, and an animation of thousands of frames, stay readable."""
    assert (
        metadata_excess(jpeg_with(JPEG, 0xE1, *[b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)] * 92)) is None
    )
    assert metadata_excess(png_with(PNG, *[png_chunk(b"fdAT", bytes(4))] * 5000)) is None


JPEGS = [
    encoded(smooth(160, 120)),
    encoded(smooth(160, 120), progressive=True),
    encoded(smooth(160, 120), restart_marker_rows=1),
    encoded(smooth(160, 120).convert("L"), progressive=True),
    encoded(smooth(800, 600), quality=95),
]


def _decodes(raw: bytes) -> bool:
    try:
        with Image.open(BytesIO(raw), formats=("JPEG",)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(JPEGS), st.data())
def test_a_skeleton_decodes_where_the_file_does(raw: bytes, data: st.DataObject) -> None:
    """Whatever is damaged in tables, headers or pixels: what is proved by the bones holds for the whole file."""
    garbled = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(2, min(len(raw) - 3, 800)) | st.integers(2, len(raw) - 3))
        garbled[place] = data.draw(st.integers(0, 255))
    skeleton = jpeg_skeleton(bytes(garbled))
    if skeleton is not None:
        assert _decodes(skeleton) == _decodes(bytes(garbled))


def test_a_skeleton_keeps_every_scan_and_little_else() -> None:
    """A large file is proved by a few kilobytes of each scan; one that is not clean has no skeleton."""
    large = encoded(Image.effect_noise((1500, 1500), 90), quality=95)
    assert len(jpeg_skeleton(large) or large) < 6_000
    progressive = encoded(Image.effect_noise((700, 700), 90), progressive=True)
    skeleton = jpeg_skeleton(progressive)
    assert skeleton is not None
    assert skeleton.count(b"\xff\xda") == progressive.count(b"\xff\xda") > 1
    assert len(skeleton) < len(progressive) / 3
    for unclean in (large[:-1], large + b"x", jpeg_with(large, 0xFE, b"comment"), PNG, b"", b"\xff\xd8"):
        assert jpeg_skeleton(unclean) is None


def test_exif_is_found_wherever_it_stands_in_a_png() -> None:
    """The chunk counts in front of the pixels and behind them; its name inside the pixels or a text does not."""
    assert png_has_exif(encoded(quadrants(), "PNG", exif=exif(3)))
    assert png_has_exif(PNG[:-12] + png_chunk(b"eXIf", b"MM") + PNG[-12:])
    assert not png_has_exif(png_with(PNG, png_chunk(b"tEXt", b"eXIf\0eXIf")))
    assert not png_has_exif(PNG[:40])
