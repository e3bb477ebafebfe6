"""Every colour mode to plain 8-bit sRGB or grey, with the right pixels.

Pillow's `convert("RGB")` clips what is deeper than 8 bits to white, so 16-bit, integer and float pictures are scaled
first. Transparency is composited on white. Embedded profiles that are not sRGB (wide gamut, CMYK) are converted
through LittleCMS, relative colorimetric. CMYK without a profile is taken by Pillow's plain formula.

What has to be converted before it can be shrunk is converted in bands of rows, so that memory holds one copy of a
large picture and not the two or three that a conversion passes through.
"""

import math
from io import BytesIO

from PIL import Image, ImageCms

__all__ = ["flattened", "to_srgb"]

_MAX_PROFILE_BYTES = 4_000_000
_SRGB = ImageCms.createProfile("sRGB")
_PLAIN = ("RGB", "L", "CMYK")
_BAND_PIXELS = 4_000_000
_SRGB_NAMES = ("srgb", "iec61966-2", "iec 61966-2")


def flattened(image: Image.Image, reduce_by: int = 1) -> tuple[Image.Image, tuple[str, ...]]:
    """The decoded image in mode `RGB`, `L` or `CMYK`, fit to be resized, and the warnings that go with it.

    Warnings: `alpha_flattened`, where a pixel was not opaque.

    Args:
        image: decoded, in any mode.
        reduce_by: so many rows and columns become one, averaged, where the picture is converted at all and is large;
            what it is shrunk to should be half of that size at most.

    Raises:
        ValueError: a float picture with values that are not numbers.
    """
    if image.mode in _PLAIN and "transparency" not in image.info:
        return image, ()
    scaling = _scaling(image) if image.mode in ("I", "F") else None
    if image.width * image.height <= _BAND_PIXELS:
        return _flat(image, scaling)
    rows = max(1, _BAND_PIXELS // (image.width * reduce_by)) * reduce_by
    whole: Image.Image | None = None
    warnings: dict[str, None] = {}
    for top in range(0, image.height, rows):
        band, more = _flat(image.crop((0, top, image.width, min(image.height, top + rows))), scaling)
        band = band.reduce(reduce_by) if reduce_by > 1 else band
        if whole is None:
            whole = Image.new(band.mode, (band.width, -(-image.height // reduce_by)))
        whole.paste(band, (0, top // reduce_by))
        warnings |= dict.fromkeys(more)
    return whole or image, tuple(warnings)


def to_srgb(image: Image.Image, profile: object) -> tuple[Image.Image, tuple[str, ...]]:
    """A flattened image in mode `RGB` or `L`, and the warnings that go with how it got there.

    Warnings: `profile_converted`; `profile_broken`, where the pixels are taken as if there were no profile.

    Args:
        image: from `flattened`, resized or not.
        profile: what Pillow found as `icc_profile`; anything but bytes is no profile. Grey stays as it is.
    """
    note = None
    if isinstance(profile, bytes) and profile and image.mode != "L":
        image, note = _through_profile(image, profile)
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    return image, (note,) if note else ()


def _flat(image: Image.Image, scaling: tuple[float, float] | None) -> tuple[Image.Image, tuple[str, ...]]:
    image = _eight_bits(image, scaling)
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        if image.getchannel("A").getextrema() == (255, 255):
            return image.convert("RGB"), ()
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white, ("alpha_flattened",)
    if image.mode == "1":
        return image.convert("L"), ()
    return (image if image.mode in _PLAIN else image.convert("RGB")), ()


def _eight_bits(image: Image.Image, scaling: tuple[float, float] | None) -> Image.Image:
    """Scales deep pictures to mode `L`; a transparent grey among 65,536 is dropped, the pixels stay as they are."""
    if image.mode.startswith("I;16"):
        scale, offset = 1 / 257, 0.5
        image = image.convert("I")
    elif scaling is not None:
        scale, offset = scaling
        image = image.convert("F")
    else:
        return image
    scaled = image.point(lambda value: value * scale + offset).convert("L")
    scaled.info.pop("transparency", None)
    return scaled


def _scaling(image: Image.Image) -> tuple[float, float]:
    """Factor and summand that bring an integer or float picture to 0..255; by its own range past what is usual.

    Usual are 0..1 (float), 0..255, and 0..65,535 (integer).
    """
    found = image.getextrema()
    low, high = float(found[0]), float(found[1])  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("pixel values are not finite numbers")
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0, 1
    elif low >= 0 and high <= 255:
        low, high = 0, 255
    elif image.mode == "I" and low >= 0 and high <= 65_535:
        low, high = 0, 65_535
    scale = 255 / (high - low) if high > low else 0.0
    return scale, -low * scale + 0.5


def _through_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str | None]:
    if len(profile) > _MAX_PROFILE_BYTES:
        return image, "profile_broken"
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = (ImageCms.getProfileDescription(embedded) or "").lower()
        if image.mode == "RGB" and any(known in name for known in _SRGB_NAMES):
            return image, None
        converted = ImageCms.profileToProfile(
            image, embedded, _SRGB, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "profile_broken"
    return (image, "profile_broken") if converted is None else (converted, "profile_converted")
