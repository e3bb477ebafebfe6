"""Every colour mode to plain 8-bit sRGB or grey, with the right pixels.

Pillow's `convert("RGB")` clips what is deeper than 8 bits to white, so 16-bit, integer and float pictures are scaled
first. Embedded profiles that are not sRGB (wide gamut, CMYK) are converted through LittleCMS, relative colorimetric.
"""

from io import BytesIO

from PIL import Image, ImageCms

__all__ = ["to_srgb"]

_MAX_PROFILE_BYTES = 4_000_000
_SRGB = ImageCms.createProfile("sRGB")
_SRGB_NAMES = ("srgb", "iec61966-2", "iec 61966-2")


def to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The decoded image in mode `RGB` or `L`, and the warnings that go with how it got there.

    Warnings: `alpha_flattened`, `profile_converted`, `profile_broken`.
    """
    warnings: list[str] = []
    profile = image.info.get("icc_profile")
    image = _eight_bits(image)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        if image.getextrema()[3] != (255, 255):
            warnings.append("alpha_flattened")
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image)
            image = white
        image = image.convert("RGB")
    if isinstance(profile, bytes) and image.mode in ("RGB", "CMYK", "L"):
        image, note = _through_profile(image, profile)
        if note:
            warnings.append(note)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    return image, tuple(warnings)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey by 1/256; integer and float pictures by their own range where it passes 8 bits."""
    if image.mode.startswith("I;16"):
        wide = image.convert("I")
        return wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode in ("I", "F"):
        low, high = image.getextrema()
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return image.convert("L")
        if image.mode == "I" and low >= 0 and high > 255:
            low, high = 0, 65_535 if high <= 65_535 else high
        elif image.mode == "F" and 0 <= low and high <= 1:
            low, high = 0, 1
        elif low >= 0 and high <= 255:
            low, high = 0, 255
        scale = 255 / (high - low) if high > low else 1.0
        offset = -low * scale
        return image.convert("F").point(lambda value: value * scale + offset).convert("L")
    return image


def _through_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str | None]:
    if len(profile) > _MAX_PROFILE_BYTES:
        return image, "profile_broken"
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = (ImageCms.getProfileDescription(embedded) or "").lower()
        if image.mode == "L" or (image.mode == "RGB" and any(known in name for known in _SRGB_NAMES)):
            return image, None
        converted = ImageCms.profileToProfile(
            image, embedded, _SRGB, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "profile_broken"
    return (converted, "profile_converted") if converted is not None else (image, "profile_broken")
