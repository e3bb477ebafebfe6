"""Colours: every mode arrives as the colours that were stored, in sRGB."""

import math
import struct

import pytest
from PIL import Image, ImageChops
from support.image_files import quadrant_colours, swapping_profile
from support.pictures import QUADRANTS, quadrants

from pipeline.images.colour import flattened, to_srgb

GREYS = (0, 64, 128, 255)
"""Of the four quadrants, as 8-bit values."""


def _greys(mode: str, values: tuple[float, ...], size: int = 8) -> Image.Image:
    image = Image.new(mode, (size, size))
    for index, value in enumerate(values):
        left, top = (index % 2) * size // 2, (index // 2) * size // 2
        image.paste(value, (left, top, left + size // 2, top + size // 2))
    return image


def _near(found: list[tuple[int, ...]], expected: tuple[tuple[int, ...], ...], within: int) -> None:
    for seen, right in zip(found, expected, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, right, strict=True)) <= within, (found, expected)


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("L", GREYS),
        ("I;16", (0, 64 * 257, 128 * 257, 65_535)),
        ("I;16B", (0, 64 * 257, 128 * 257, 65_535)),
        ("I", (0, 64 * 257, 128 * 257, 65_535)),
        ("I", GREYS),
        ("I", (-1000, -1000 + 64 * 8, -1000 + 128 * 8, -1000 + 255 * 8)),
        ("F", (0.0, 64 / 255, 128 / 255, 1.0)),
        ("F", (0.0, 64.0, 128.0, 255.0)),
        ("F", (-1e6, -1e6 + 64e3, -1e6 + 128e3, -1e6 + 255e3)),
    ],
)
def test_greys_of_every_depth_are_scaled_not_clipped(mode: str, values: tuple[float, ...]) -> None:
    """Black, dark, middle and white of 8, 16 and 32 bits and of floats become the same greys of 8 bits."""
    image, warnings = flattened(_greys(mode, values))
    assert image.mode == "L"
    assert warnings == ()
    _near(quadrant_colours(image), tuple((value,) * 3 for value in GREYS), within=1)


def test_dim_16_bit_greys_stay_dim() -> None:
    """A dark 16-bit picture is not stretched to white: its scale is that of its depth, not of its content."""
    image, _ = flattened(_greys("I;16", (257, 514, 1028, 2570)))
    _near(quadrant_colours(image), ((1,) * 3, (2,) * 3, (4,) * 3, (10,) * 3), within=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_float_pictures_without_finite_values_are_refused(value: float) -> None:
    """A picture of values that are not numbers is an error, never a plain black one."""
    with pytest.raises(ValueError, match="finite"):
        flattened(Image.new("F", (4, 4), value))


def test_transparent_grey_of_16_bits_is_dropped() -> None:
    """A transparency key of 16 bits means nothing to 8-bit pixels, and does not come with them."""
    image = _greys("I;16", (0, 64 * 257, 128 * 257, 65_535))
    image.info["transparency"] = 65_535
    flat, warnings = flattened(image)
    assert flat.mode == "L"
    assert warnings == ()
    assert "transparency" not in flat.info


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "YCbCr", "CMYK", "LAB", "HSV", "P"])
def test_colours_of_every_mode_arrive(mode: str) -> None:
    """The four quadrants have their colours, whatever mode they were stored in."""
    stored = quadrants().quantize(4) if mode == "P" else quadrants().convert("RGBA" if mode == "RGBa" else "RGB")
    flat, warnings = flattened(stored if mode == "P" else stored.convert(mode))
    image, more = to_srgb(flat, None)
    assert image.mode == "RGB"
    assert (*warnings, *more) == ()
    _near(quadrant_colours(image), QUADRANTS, within=10)


def test_one_bit_pictures_become_black_and_white() -> None:
    """Bilevel pixels become 0 and 255 of grey."""
    image, _ = flattened(_greys("1", (0, 255, 255, 0)))
    assert image.mode == "L"
    assert [colour[0] for colour in quadrant_colours(image)] == [0, 255, 255, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_become_white_and_opaque_ones_stay(mode: str) -> None:
    """Alpha is composited on white, with a warning, in every mode that has it."""
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 4))
    image = Image.new("L" if mode == "LA" else "RGB", (8, 8), 80 if mode == "LA" else (80, 80, 80))
    image = image.quantize(2) if mode == "PA" else image
    image.putalpha(alpha)
    assert image.mode == mode
    flat, warnings = flattened(image)
    assert flat.mode == "RGB"
    assert warnings == ("alpha_flattened",)
    assert quadrant_colours(flat) == [(255,) * 3, (80,) * 3, (80,) * 3, (80,) * 3]


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    """Half of black over white is grey."""
    flat, _ = flattened(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    _near(quadrant_colours(flat)[:1], ((127,) * 3,), within=1)


@pytest.mark.parametrize(
    ("mode", "key", "colour"),
    [("P", 1, 1), ("P", b"\xff\0", 1), ("RGB", (9, 9, 9), (9, 9, 9)), ("L", 9, 9), ("1", 0, 0)],
)
def test_transparency_by_key_becomes_white(mode: str, key: object, colour: tuple[int, ...] | int) -> None:
    """A palette entry or colour that is declared transparent becomes white, with a warning."""
    image = Image.new(mode, (4, 4), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 40, 40, 40])
    image.info["transparency"] = key
    flat, warnings = flattened(image)
    assert warnings == ("alpha_flattened",)
    assert quadrant_colours(flat)[0] == (255, 255, 255)


def test_opaque_alpha_needs_no_warning() -> None:
    """An alpha channel that hides nothing goes silently."""
    flat, warnings = flattened(quadrants().convert("RGBA"))
    assert warnings == ()
    assert flat.tobytes() == quadrants().tobytes()


def test_a_foreign_profile_is_converted_to_srgb() -> None:
    """Pixels of a profile that calls green what sRGB calls red arrive as what they look like, with a warning."""
    image, warnings = to_srgb(Image.new("RGB", (4, 4), (240, 16, 16)), swapping_profile())
    assert warnings == ("profile_converted",)
    _near(quadrant_colours(image)[:1], ((16, 240, 16),), within=4)


def test_an_srgb_profile_leaves_the_pixels_alone() -> None:
    """The usual profile costs nothing and says nothing."""
    named = swapping_profile().replace("Swap".encode("utf-16-be"), "sRGB".encode("utf-16-be"))
    image = quadrants()
    assert to_srgb(image, named) == (image, ())


@pytest.mark.parametrize("profile", [b"garbage", swapping_profile()[:200], bytes(5_000_000), struct.pack(">I", 9) * 50])
def test_a_broken_profile_is_a_warning_and_the_pixels_stay(profile: bytes) -> None:
    """A profile that cannot be read, or is too large to be one, is as if there were none."""
    image, warnings = to_srgb(quadrants(), profile)
    assert warnings == ("profile_broken",)
    assert image.tobytes() == quadrants().tobytes()


def test_a_profile_for_another_colour_space_is_broken() -> None:
    """An RGB profile on CMYK pixels is not applied, and the pixels are converted plainly."""
    image, warnings = to_srgb(quadrants().convert("CMYK"), swapping_profile())
    assert warnings == ("profile_broken",)
    _near(quadrant_colours(image), QUADRANTS, within=6)


@pytest.mark.parametrize("profile", [None, b"", "text"])
def test_no_profile_is_no_warning(profile: object) -> None:
    """Without a profile there is nothing to convert and nothing to say."""
    assert to_srgb(quadrants(), profile)[1] == ()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "I", "F", "YCbCr"])
def test_large_pictures_are_converted_in_bands_without_seams(mode: str) -> None:
    """Over several bands every mode comes out as it does in one piece, reduced or not, at the very edges too."""
    ramp = Image.linear_gradient("L").resize((2003, 4007))
    if mode in ("RGBA", "LA"):
        image = ramp.convert(mode)
        image.putalpha(ramp.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    else:
        image = (
            ramp.convert("I").point(lambda value: value * 257).convert(mode) if mode == "I;16" else ramp.convert(mode)
        )
    whole = flattened(image.resize((200, 400), Image.Resampling.NEAREST))
    banded = flattened(image)
    assert banded[0].size == image.size
    assert (banded[0].mode, banded[1]) == (whole[0].mode, whole[1])
    if mode not in {"F", "I"}:  # these are scaled by what is in the whole picture
        for row in (0, 1, 1996, 1997, 1998, 3993, 3994, 3995, 4006):
            box = (0, row, 2003, row + 1)
            single = flattened(image.crop(box))[0]
            assert banded[0].crop(box).convert("RGB").tobytes() == single.convert("RGB").tobytes()
    reduced = flattened(image, 4)[0]
    assert reduced.size == (501, 1002)
    off = ImageChops.difference(reduced.convert("L"), banded[0].convert("L").reduce(4))
    assert off.getextrema()[1] <= 1


def test_a_seldom_transparency_is_seen_in_a_large_picture() -> None:
    """One pixel that is not opaque, in the last band, is composited and warned of."""
    image = Image.new("RGBA", (2500, 2500), (0, 0, 0, 255))
    image.putpixel((2499, 2499), (0, 0, 0, 0))
    flat, warnings = flattened(image)
    assert warnings == ("alpha_flattened",)
    assert flat.getpixel((2499, 2499)) == (255, 255, 255)
    assert flat.getpixel((0, 0)) == (0, 0, 0)
