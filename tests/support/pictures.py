"""Pictures made on the spot, whose pixels are known."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["QUADRANTS", "encoded", "quadrants", "save_quadrants", "smooth"]

QUADRANTS = ((230, 30, 30), (30, 200, 30), (30, 30, 220), (240, 220, 40))
"""Colours of the four quadrants: top left, top right, bottom left, bottom right."""


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Four plain quadrants, so that a turned or mirrored picture can be told."""
    image = Image.new("RGB", (width, height))
    for index, colour in enumerate(QUADRANTS):
        left, top = (index % 2) * (width // 2), (index // 2) * (height // 2)
        image.paste(colour, (left, top, left + width - width // 2, top + height - height // 2))
    return image


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with many colours and soft edges, like a photograph; different for each seed."""
    ramp = Image.linear_gradient("L").resize((width, height))
    other = Image.radial_gradient("L").resize((width, height)).rotate(37 * (seed % 10))
    third = ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda value: (value + 53 * seed) % 256)
    return Image.merge("RGB", (ramp, other, third))


def encoded(image: Image.Image, name: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file of this format."""
    sink = BytesIO()
    image.save(sink, name, **options)
    return sink.getvalue()


def save_quadrants(path: Path, **options: Any) -> Path:
    """A picture of four quadrants at this path, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quadrants().save(path, **options)
    return path
