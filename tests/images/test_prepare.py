"""Preparation: the right pixels, under every bound, with nothing else in the file, judged by the stand-in's eyes."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from support.image_files import (
    EXIF_SIDES,
    exif,
    jpeg_with,
    judged,
    opened,
    png_chunk,
    png_claiming,
    png_with,
    quadrant_colours,
    stored_for,
    swapping_profile,
    tiny_webp,
)
from support.pictures import QUADRANTS, encoded, quadrants, smooth

from pipeline.errors import ErrorType, ImageError
from pipeline.images.containers import is_clean
from pipeline.images.geometry import HIGH, Bounds, fits, image_tokens, shrink, tight_shrink
from pipeline.images.prepare import PrepareSettings, prepare

USUAL = PrepareSettings()
CANARY = "CANARY-51.4778N"
SENDABLE = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
FORMATS = (*SENDABLE, "TIFF", "BMP", "AVIF", "JPEG2000")


def _shows_quadrants(raw: bytes, within: int = 40) -> None:
    found = quadrant_colours(opened(prepare("x", raw, USUAL)))
    for seen, right in zip(found, QUADRANTS, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, right, strict=True)) <= within, found


def _failure(raw: bytes, chosen: PrepareSettings = USUAL) -> ErrorType | str:
    with pytest.raises(ImageError) as caught:
        prepare("row 3: a.jpg", raw, chosen)
    assert "row 3: a.jpg" in str(caught.value)
    return caught.value.error_type


def _page(width: int, height: int) -> Image.Image:
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for row in range(height // 24):
        draw.text((10, 24 * row), "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 4, fill="black")
    return page


@pytest.mark.parametrize("orientation", EXIF_SIDES)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("size", [(320, 240), (2400, 1000)], ids=["as it is", "shrunk"])
def test_every_orientation_arrives_upright(name: str, orientation: int, size: tuple[int, int]) -> None:
    """Whatever way a camera stored the picture, what is sent shows each quadrant at its place, in the right shape."""
    raw = encoded(stored_for(orientation, *size), name, exif=exif(orientation))
    prepared = prepare("x", raw, USUAL)
    record = prepared.record
    assert (record.width, record.height) == size
    assert (record.sent_width, record.sent_height) == opened(prepared).size == tight_shrink(*size, USUAL.bounds)
    _shows_quadrants(raw)


def test_a_compressed_tiff_is_turned_once() -> None:
    """The TIFF decoder that reads compressed strips turns the picture as the plain one does, and we not again."""
    raw = encoded(stored_for(6, 320, 240), "TIFF", exif=exif(6), compression="tiff_lzw")
    assert prepare("x", raw, USUAL).record.width == 320
    _shows_quadrants(raw)


MODES = {
    "CMYK JPEG": encoded(quadrants(320, 240).convert("CMYK")),
    "CMYK TIFF": encoded(quadrants(320, 240).convert("CMYK"), "TIFF"),
    "YCbCr TIFF": encoded(quadrants(320, 240).convert("YCbCr"), "TIFF"),
    "LAB TIFF": encoded(quadrants(320, 240).convert("LAB"), "TIFF"),
    "palette PNG": encoded(quadrants(320, 240).quantize(4), "PNG"),
    "palette BMP": encoded(quadrants(320, 240).quantize(4), "BMP"),
    "GIF": encoded(quadrants(320, 240), "GIF"),
    "RGBA PNG": encoded(quadrants(320, 240).convert("RGBA"), "PNG"),
    "RGBA WEBP": encoded(quadrants(320, 240).convert("RGBA"), "WEBP", lossless=True),
    "palette with transparency": encoded(quadrants(320, 240).quantize(8), "PNG", transparency=7),
    "progressive": encoded(quadrants(320, 240), progressive=True),
    "MPO": encoded(quadrants(320, 240), "MPO", save_all=True, append_images=[smooth(320, 240)]),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_of_file_arrives_in_its_colours(name: str) -> None:
    """What is sent shows the four colours, from every way of storing them."""
    _shows_quadrants(MODES[name])
    judged(prepare("x", MODES[name], USUAL))


def test_adobes_inverted_cmyk_arrives_uninverted() -> None:
    """A CMYK JPEG holds its inks inverted, by Adobe's convention, and says so: a light picture stays light."""
    raw = encoded(Image.new("CMYK", (256, 256), (0, 0, 0, 20)))
    assert b"Adobe" in raw[:64]
    (value, *_) = quadrant_colours(opened(prepare("x", raw, USUAL)))
    assert min(value) > 225


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_greys_are_not_white(name: str) -> None:
    """Deep greys keep their order and distance from file to file."""
    image = Image.new("I;16", (400, 400), 12_850)
    image.paste(51_400, (200, 0, 400, 400))
    found = quadrant_colours(opened(prepare("x", encoded(image, name), USUAL)))
    assert abs(found[0][0] - 50) <= 2
    assert abs(found[1][0] - 200) <= 2


def test_a_float_tiff_is_scaled() -> None:
    """Floats from 0 to 1 are black to white."""
    image = Image.new("F", (400, 400), 0.2)
    image.paste(0.8, (200, 0, 400, 400))
    found = quadrant_colours(opened(prepare("x", encoded(image, "TIFF"), USUAL)))
    assert abs(found[0][0] - 51) <= 2
    assert abs(found[1][0] - 204) <= 2


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_transparency_arrives_white(name: str) -> None:
    """Behind transparent pixels is white, with a warning, in every format that has them; shrinking leaves no fringe."""
    image = Image.new("RGBA", (2000, 1600), (20, 20, 20, 255))
    image.paste((0, 0, 0, 0), (0, 0, 1000, 800))
    prepared = prepare("x", encoded(image, name), USUAL)
    found = quadrant_colours(opened(prepared))
    assert "alpha_flattened" in prepared.record.warnings
    assert min(found[0]) >= 250
    assert max(found[3]) <= 30


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_a_transparent_palette_does_not_pass_through(name: str) -> None:
    """A small file of few colours, one of them transparent, is flattened like any other."""
    image = Image.new("P", (300, 300), 1)
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.paste(0, (0, 0, 150, 150))
    prepared = prepare("x", encoded(image, name, transparency=0), USUAL)
    assert prepared.record.warnings == ("alpha_flattened",)
    assert quadrant_colours(opened(prepared)) == [(255,) * 3, (90,) * 3, (90,) * 3, (90,) * 3]


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation_is_sent(name: str) -> None:
    """An animation is sent as its first frame, one picture, with a warning."""
    raw = encoded(quadrants(320, 240), name, save_all=True, append_images=[Image.new("RGB", (320, 240))] * 3)
    prepared = prepare("x", raw, USUAL)
    assert "animated" in prepared.record.warnings
    assert not getattr(opened(prepared), "is_animated", False)
    _shows_quadrants(raw)


def test_the_first_page_of_a_tiff_is_sent() -> None:
    """Of several pages the first is sent, with a warning of its own; an MPO's second picture is no page."""
    raw = encoded(quadrants(320, 240), "TIFF", save_all=True, append_images=[Image.new("L", (900, 900))])
    assert prepare("x", raw, USUAL).record.warnings == ("multipage",)
    assert prepare("x", MODES["MPO"], USUAL).record.warnings == ()
    _shows_quadrants(raw)


def test_a_foreign_profile_is_applied_and_not_sent() -> None:
    """Colours of an embedded profile arrive as they look, with a warning, and the profile stays behind."""
    raw = encoded(Image.new("RGB", (300, 300), (240, 16, 16)), icc_profile=swapping_profile())
    prepared = prepare("x", raw, USUAL)
    red, green, _ = quadrant_colours(opened(prepared))[0]
    assert green > 200
    assert red < 60
    assert prepared.record.warnings == ("profile_converted",)
    assert "icc_profile" not in opened(prepared).info


LADEN = {
    "JPEG EXIF": encoded(smooth(300, 240), exif=exif(1, CANARY)),
    "JPEG comment": encoded(smooth(300, 240), comment=CANARY.encode()),
    "JPEG XMP": jpeg_with(encoded(smooth(300, 240)), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + CANARY.encode()),
    "JPEG IPTC": jpeg_with(encoded(smooth(300, 240)), 0xED, b"Photoshop 3.0\0" + CANARY.encode()),
    "JPEG in Adobe's segment": jpeg_with(encoded(smooth(300, 240)), 0xEE, b"Adobe\0\x64\0\0\0\0\1" + CANARY.encode()),
    "JPEG trailing": encoded(smooth(300, 240)) + CANARY.encode(),
    "JPEG profile": encoded(smooth(300, 240), icc_profile=CANARY.encode()),
    "PNG text": png_with(encoded(quadrants(300, 240), "PNG"), png_chunk(b"tEXt", b"Author\0" + CANARY.encode())),
    "PNG in a colour chunk": png_with(encoded(quadrants(300, 240), "PNG"), png_chunk(b"sBIT", CANARY.encode())),
    "PNG EXIF": encoded(quadrants(300, 240), "PNG", exif=exif(1, CANARY)),
    "PNG trailing": encoded(quadrants(300, 240), "PNG") + CANARY.encode(),
    "GIF comment": encoded(quadrants(300, 240), "GIF", comment=CANARY.encode()),
    "GIF trailing": encoded(quadrants(300, 240), "GIF") + CANARY.encode(),
    "WEBP EXIF": encoded(smooth(300, 240), "WEBP", exif=exif(1, CANARY)),
    "WEBP XMP": encoded(smooth(300, 240), "WEBP", xmp=CANARY.encode()),
    "WEBP trailing": encoded(smooth(300, 240), "WEBP") + CANARY.encode(),
    "TIFF EXIF": encoded(quadrants(300, 240), "TIFF", exif=exif(1, CANARY)),
    "AVIF EXIF": encoded(smooth(300, 240), "AVIF", exif=exif(1, CANARY)),
}


@pytest.mark.parametrize("name", LADEN)
def test_nothing_but_the_picture_is_sent(name: str) -> None:
    """Camera data, comments, profiles and bytes behind the picture are in the original and not in what is sent."""
    raw = LADEN[name]
    assert CANARY.encode() in raw
    prepared = prepare("x", raw, USUAL)
    assert CANARY.encode() not in prepared.body
    assert is_clean(name_of(prepared.record.sent_media_type), prepared.body)


def name_of(media_type: str | None) -> str:
    """Pillow's name of a format."""
    return next(name for name, known in SENDABLE.items() if known == media_type)


PASSING = {
    "JPEG": encoded(smooth(640, 480)),
    "JPEG grey": encoded(smooth(640, 480).convert("L")),
    "JPEG largest": encoded(smooth(1092, 1092)),
    "PNG": encoded(quadrants(640, 480), "PNG"),
    "PNG palette": encoded(quadrants(640, 480).quantize(4), "PNG"),
    "PNG 1 bit": encoded(quadrants(640, 480).convert("1"), "PNG"),
    "WEBP": encoded(smooth(640, 480), "WEBP"),
    "GIF": encoded(quadrants(640, 480), "GIF"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_needs_nothing_passes_byte_for_byte(name: str) -> None:
    """A clean file within the bounds is sent as it is, and its row says so."""
    raw = PASSING[name]
    prepared = prepare("photos/a", raw, USUAL)
    record = prepared.record
    assert prepared.body == raw
    assert record.sha256 == record.sent_sha256 == sha256(raw).hexdigest()
    assert (record.sent_width, record.sent_height) == (record.width, record.height) == Image.open(BytesIO(raw)).size
    assert record.sent_media_type == record.media_type == SENDABLE[name.split(maxsplit=1)[0]]
    assert record.sent_bytes == record.bytes == len(raw)
    assert record.warnings == ()
    assert judged(prepared)[0].sha256 == record.sent_sha256


@pytest.mark.parametrize("name", ["TIFF", "BMP", "AVIF", "JPEG2000"])
def test_formats_that_the_service_does_not_take_are_encoded_anew(name: str) -> None:
    """What the service cannot read is sent as JPEG or PNG, and the row names both types."""
    prepared = prepare("x", encoded(smooth(300, 240), name), USUAL)
    assert prepared.record.media_type not in SENDABLE.values()
    assert judged(prepared)[0].width == 300


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_file_fails_as_corrupt(name: str, share: float) -> None:
    """A file that lacks its end is no success, whether it would have passed through or been encoded anew."""
    for size in ((320, 240), (2000, 1600)):
        raw = encoded(smooth(*size), name)
        assert _failure(raw[: int(len(raw) * share)]) == ErrorType.IMAGE_CORRUPT


@pytest.mark.parametrize("raw", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", png_claiming(300, 300)])
def test_files_without_pixels_are_corrupt(raw: bytes) -> None:
    """Nothing, a signature alone, and a header without its pixels fail."""
    assert _failure(raw) == ErrorType.IMAGE_CORRUPT


def test_an_eps_by_the_name_of_jpg_is_unsupported() -> None:
    """PostScript is refused by its contents, whatever it is called."""
    assert _failure(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n") == ErrorType.IMAGE_UNSUPPORTED


def test_the_wrong_suffix_is_of_no_account() -> None:
    """The contents tell the type: a PNG called .jpg is sent as PNG."""
    prepared = prepare("a.jpg", PASSING["PNG"], USUAL)
    assert prepared.record.sent_media_type == "image/png"
    judged(prepared)


@pytest.mark.parametrize(
    ("raw", "chosen"),
    [
        (png_claiming(30_000, 30_000), USUAL),
        (tiny_webp(16_383, 16_383), USUAL),
        (tiny_webp(9_170, 9_170), USUAL),
        (encoded(smooth(300, 200)), PrepareSettings(max_pixels=59_999)),
        (encoded(smooth(300, 200)), PrepareSettings(max_bytes=100)),
    ],
    ids=["900 megapixels", "268 megapixels", "84 megapixels in 40 bytes", "max_pixels", "max_bytes"],
)
def test_what_is_too_large_is_refused_as_such(raw: bytes, chosen: PrepareSettings) -> None:
    """Bombs and files over the settings fail as too large."""
    assert _failure(raw, chosen) == ErrorType.IMAGE_TOO_LARGE


def test_small_and_much_shrunk_pictures_are_warned_of() -> None:
    """Under 200 px on a side, and over four times larger than what is sent, are worth a warning; the edges are not."""
    assert prepare("x", encoded(smooth(199, 300)), USUAL).record.warnings == ("small_edge",)
    assert prepare("x", encoded(smooth(200, 300)), USUAL).record.warnings == ()
    quarter = PrepareSettings(bounds=Bounds(280, 100))
    assert prepare("x", encoded(smooth(1120, 1120)), quarter).record.warnings == ()
    assert prepare("x", encoded(smooth(1148, 1148)), quarter).record.warnings == ("shrunk_over_4x",)


def test_text_stays_lossless_and_photographs_become_jpeg() -> None:
    """A page of text is sent as PNG, whole or shrunk, pixel for pixel where it fits; a photograph never is."""
    page = _page(900, 900)
    fitting = prepare("x", encoded(page, "BMP"), USUAL)
    assert fitting.record.sent_media_type == "image/png"
    assert opened(fitting).convert("RGB").tobytes() == page.tobytes()
    assert prepare("x", encoded(_page(2400, 2400), "PNG"), USUAL).record.sent_media_type == "image/png"
    assert prepare("x", encoded(_page(900, 900).convert("L"), "TIFF"), USUAL).record.sent_media_type == "image/png"
    crowded = Image.new("RGB", (2400, 1350), "white")
    draw = ImageDraw.Draw(crowded)
    for row in range(55):
        ink = ((20, 20, 60), (180, 0, 0), (0, 90, 30))[row % 3]
        draw.text((20, 24 * row), "Lorem ipsum dolor sit amet, consectetur elit. " * 5, fill=ink, font_size=18)
    shrunk_page = prepare("x", encoded(crowded, "PNG"), USUAL)
    assert shrunk_page.record.sent_media_type == "image/png"
    assert opened(shrunk_page).mode == "RGB"
    grey = prepare("x", encoded(_page(2400, 2400), "PNG"), USUAL)
    assert opened(grey).mode == "L"
    for photograph in (smooth(2000, 1500), smooth(2000, 1500).convert("L")):
        assert prepare("x", encoded(photograph, "PNG"), USUAL).record.sent_media_type == "image/jpeg"


def test_quality_gives_way_before_size_and_size_before_failure() -> None:
    """Where the limit on bytes is tight, the picture gets coarser, then smaller, and fails where neither helps."""
    noise = Image.merge("RGB", [Image.effect_noise((600, 600), 90 + band) for band in range(3)])
    raw = encoded(noise, "BMP")
    usual = prepare("x", raw, USUAL)
    length = 4 * -(-len(usual.body) // 3)
    coarser = prepare("x", raw, PrepareSettings(max_base64_bytes=length - 1))
    assert coarser.record.sent_width == 600
    assert len(coarser.body) < len(usual.body)
    smaller = prepare("x", raw, PrepareSettings(max_base64_bytes=length // 8))
    assert smaller.record.sent_width == smaller.record.sent_height == opened(smaller).width < 600
    assert judged(smaller, limit=length // 8)[0].width == smaller.record.sent_width
    assert _failure(raw, PrepareSettings(max_base64_bytes=400)) == ErrorType.IMAGE_TOO_LARGE


def test_a_clean_file_over_the_byte_limit_does_not_pass() -> None:
    """A file that is small in pixels and large in bytes is encoded anew."""
    raw = encoded(Image.merge("RGB", [Image.effect_noise((900, 900), 80)] * 3), quality=100, subsampling=0)
    limit = 4 * -(-len(raw) // 3) - 1
    prepared = prepare("x", raw, PrepareSettings(max_base64_bytes=limit))
    assert prepared.body != raw
    judged(prepared, limit=limit)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_quality_is_obeyed(quality: int) -> None:
    """The JPEG that is sent has the tables of the quality that was asked for."""
    prepared = prepare("x", encoded(smooth(300, 240), "BMP"), PrepareSettings(quality=quality))
    expected = Image.open(BytesIO(encoded(smooth(300, 240), quality=quality)))
    assert opened(prepared).quantization == expected.quantization  # type: ignore[attr-defined]


def test_the_longest_side_holds_beside_the_bounds() -> None:
    """In a request of many images each side stays under 2000 px, though the model could see more."""
    chosen = PrepareSettings(bounds=HIGH, max_side_px=2000)
    for raw in (encoded(smooth(2400, 1200)), encoded(smooth(2001, 300))):
        prepared = prepare("x", raw, chosen)
        assert 1900 < max(opened(prepared).size) <= 2000
        judged(prepared, many=True)


@pytest.mark.parametrize("name", [*PASSING, "CMYK JPEG"])
def test_thumbnails_are_small_webp_of_the_same_picture(name: str) -> None:
    """Asked for, a thumbnail is a WebP whose longer side is the edge and whose shape is the picture's."""
    raw = {**PASSING, **MODES}[name]
    thumbnail = prepare("x", raw, PrepareSettings(thumbnail_edge=96)).thumbnail
    assert thumbnail is not None
    image = Image.open(BytesIO(thumbnail))
    assert image.format == "WEBP"
    assert max(image.size) == 96
    assert prepare("x", raw, USUAL).thumbnail is None


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 2600),
    st.integers(1, 700),
    st.booleans(),
    st.sampled_from(["JPEG", "PNG", "BMP", "GIF"]),
    st.builds(Bounds, st.integers(28, 1700), st.integers(1, 1600)),
)
def test_whatever_the_size_the_service_takes_it_unshrunk(
    long: int, short: int, upright: bool, name: str, bounds: Bounds
) -> None:
    """Every picture arrives within the bounds and the service's checks, in shape, and passes when prepared again."""
    size = (short, long) if upright else (long, short)
    chosen = PrepareSettings(bounds=bounds)
    prepared = prepare("x", encoded(smooth(*size), name), chosen)
    wide, high = opened(prepared).size
    assert (prepared.record.sent_width, prepared.record.sent_height) == (wide, high)
    assert fits(wide, high, bounds)
    usual = shrink(*size, bounds)
    assert all(theirs * 0.98 - 2 <= ours <= theirs for ours, theirs in zip((wide, high), usual, strict=True))
    seen, tokens = judged(prepared)
    assert (seen.width, seen.height) == (wide, high)
    if max(wide, high) <= 1568 and image_tokens(wide, high) <= 1568:
        assert tokens == image_tokens(wide, high)
    assert prepare("x", prepared.body, chosen).body == prepared.body


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(FORMATS), st.data())
def test_garbled_files_fail_by_name_or_are_taken_by_the_service(name: str, data: st.DataObject) -> None:
    """Bytes overwritten, cut out or put into a file give an image error, no other, or a picture that is fit."""
    raw = encoded(smooth(160, 120), name)
    start = data.draw(st.integers(0, len(raw) - 1))
    stop = start + data.draw(st.integers(0, 40))
    garbled = raw[:start] + data.draw(st.binary(max_size=40)) + raw[stop:]
    try:
        prepared = prepare("x", garbled, PrepareSettings(max_pixels=1_000_000))
    except ImageError:
        return
    judged(prepared)


PHOTOS = {path.name: path.read_bytes() for path in sorted((Path(__file__).parents[2] / "data" / "photos").rglob("*.*"))}
REAL = [name for name, raw in PHOTOS.items() if len(raw) < 400_000 and name != "damaged.jpg"]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A real file that was cut, had bytes overwritten, or was joined with a part of another."""
    raw = bytearray(PHOTOS[draw(st.sampled_from(REAL))])
    kind = draw(st.sampled_from(["cut", "flip", "flip the head", "splice", "repeat", "cut and ended"]))
    place = draw(st.integers(1, len(raw) - 1))
    if kind == "cut":
        return bytes(raw[:place])
    if kind == "cut and ended":
        return bytes(raw[:place]) + b"\xff\xd9"
    if kind == "splice":
        other = PHOTOS[draw(st.sampled_from(REAL))]
        start = draw(st.integers(0, len(other) - 1))
        return bytes(raw[:place]) + other[start:]
    if kind == "repeat":
        return bytes(raw[:place] + raw[draw(st.integers(0, place)) :])
    most = 1000 if kind == "flip the head" else len(raw) - 1
    for _ in range(draw(st.integers(1, 20))):
        raw[draw(st.integers(0, min(most, len(raw) - 1)))] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(mutations())
def test_mutated_photographs_fail_by_name_or_are_taken_by_the_service(raw: bytes) -> None:
    """A damaged real file ends within seconds, as an image error or as a picture that the service accepts."""
    began = time.thread_time()
    kind: str | None = None
    try:
        judged(prepare("x", raw, USUAL))
    except ImageError as error:
        kind = error.error_type
    assert kind in (None, ErrorType.IMAGE_CORRUPT, ErrorType.IMAGE_UNSUPPORTED, ErrorType.IMAGE_TOO_LARGE)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("name", [name for name in PHOTOS if name != "damaged.jpg"])
def test_every_photograph_of_the_demo_is_ready(name: str) -> None:
    """Real files of all kinds are taken by the service, cut ones are not, and a second preparation changes nothing."""
    prepared = prepare(name, PHOTOS[name], USUAL)
    judged(prepared)
    assert prepare(name, prepared.body, USUAL).body == prepared.body
    assert _failure(PHOTOS[name][: len(PHOTOS[name]) * 2 // 3]) == ErrorType.IMAGE_CORRUPT


def test_what_would_take_too_much_memory_is_refused_before_it_is_decoded() -> None:
    """A WebP of 144 megapixels, dear to decode, is too large though `images.max_pixels` allows it; a setting helps."""
    raw = tiny_webp(12_000, 12_000) + bytes(20_000)
    assert _failure(raw) == ErrorType.IMAGE_TOO_LARGE
    with pytest.raises(ImageError, match="GB"):
        prepare("row 3: a.jpg", raw, USUAL)


def test_thumbnails_of_what_is_shrunk_are_made_from_it() -> None:
    """A large or grey picture has a thumbnail of its shape and colours; a small one is not enlarged."""
    for raw, size in ((encoded(quadrants(2400, 1200)), (256, 128)), (encoded(quadrants(90, 60), "BMP"), (90, 60))):
        thumbnail = prepare("x", raw, PrepareSettings(thumbnail_edge=256)).thumbnail
        assert thumbnail is not None
        image = Image.open(BytesIO(thumbnail))
        assert image.size == size
        for seen, right in zip(quadrant_colours(image), QUADRANTS, strict=True):
            assert max(abs(a - b) for a, b in zip(seen, right, strict=True)) <= 40


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_of_phones_is_read_with_the_extra(orientation: int) -> None:
    """A HEIC arrives upright, as JPEG, with its own media type in the row; a cut one is corrupt."""
    pillow_heif.register_heif_opener()
    raw = encoded(stored_for(orientation, 320, 240), "HEIF", exif=exif(orientation).tobytes())
    record = prepare("x", raw, USUAL).record
    assert (record.media_type, record.sent_media_type) == ("image/heif", "image/jpeg")
    assert (record.width, record.height) == (320, 240)
    _shows_quadrants(raw)
    assert _failure(raw[: len(raw) * 2 // 3]) == ErrorType.IMAGE_CORRUPT


def test_many_threads_prepare_the_same_bytes() -> None:
    """Files of all kinds prepared in eight threads at once come out as they do one by one."""
    files = [*MODES.values(), *LADEN.values(), *PASSING.values()] * 3
    work = partial(prepare, "x", settings=USUAL)
    alone = [work(raw).record for raw in files]
    with ThreadPoolExecutor(8) as threads:
        assert [prepared.record for prepared in threads.map(work, files)] == alone


def _cpu_s(work: object, raw: bytes) -> float:
    assert callable(work)
    spent = []
    for _ in range(3):
        begin = time.thread_time()
        work(raw)
        spent.append(time.thread_time() - begin)
    return min(spent)


def test_a_clean_jpeg_is_proved_without_decoding_its_pixels() -> None:
    """A file of 1 MB that passes costs at most a third of decoding it."""
    raw = encoded(Image.merge("RGB", [Image.effect_noise((1092, 1092), 60)] * 3), quality=92)
    assert prepare("x", raw, USUAL).body == raw
    decoding = _cpu_s(lambda raw: Image.open(BytesIO(raw)).load(), raw)
    assert _cpu_s(partial(prepare, "x", settings=USUAL), raw) < decoding / 3


def test_a_large_jpeg_costs_far_less_than_the_plain_way() -> None:
    """A 12-megapixel JPEG is decoded scaled: at most half of the CPU of decoding it whole and resizing."""

    def plain(raw: bytes) -> None:
        image = ImageOps.exif_transpose(Image.open(BytesIO(raw))).convert("RGB")
        encoded(image.resize((1270, 952), Image.Resampling.LANCZOS), quality=85)

    raw = encoded(smooth(4000, 3000))
    assert _cpu_s(partial(prepare, "x", settings=USUAL), raw) < _cpu_s(plain, raw) / 2
