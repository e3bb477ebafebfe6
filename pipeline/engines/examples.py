"""`prompt.examples`: the few-shot messages that stand before every conversation, prepared once for the whole run.

The image of an example is a file of the user's own, named in the configuration: its path starts at the working
directory, as every path there does, and may lead anywhere. It is prepared as every image is, and sent whole.
"""

import re
from dataclasses import replace
from pathlib import Path

from pipeline.errors import ConfigError, ImageError
from pipeline.images.geometry import MANY_IMAGES_SIDE_PX
from pipeline.images.local import read_local
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.records import Message, PreparedImage
from pipeline.settings import Example, SettingsPrompt

__all__ = ["example_hashes", "example_images", "example_messages"]

_URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:(//|.*,)")


def example_messages(prompt: SettingsPrompt, settings: PrepareSettings) -> tuple[Message, ...]:
    """A user's and an assistant's message for each example.

    Raises:
        ConfigError: an image cannot be read or prepared; names the example.
    """
    messages: list[Message] = []
    # With more than 20 images in a request the service takes none with a longer side, and items may bring that many.
    settings = replace(settings, thumbnail_edge=0, max_side_px=min(settings.max_side_px, MANY_IMAGES_SIDE_PX))
    for number, example in enumerate(prompt.examples or ()):
        if not example.user.strip() or not example.assistant.strip():
            raise ConfigError(f"prompt.examples.{number}: user and assistant: allowed: texts that are not blank")
        image = _image(f"prompt.examples.{number}.image", example, settings)
        messages += [Message("user", (image, example.user)), Message("assistant", (example.assistant.rstrip(),))]
    return tuple(messages)


def example_images(messages: tuple[Message, ...]) -> list[PreparedImage]:
    """The images of the examples."""
    return [part for message in messages for part in message.parts if isinstance(part, PreparedImage)]


def example_hashes(messages: tuple[Message, ...]) -> list[str]:
    """SHA-256 of the original file of each example: what the fingerprint takes in the place of their paths."""
    return [str(image.record.sha256) for image in example_images(messages)]


def _image(key: str, example: Example, settings: PrepareSettings) -> PreparedImage:
    if _URL.match(example.image):
        raise ConfigError(f"{key}: examples are read from files; download it, and give its path")
    here = Path.cwd().resolve()
    try:
        raw = read_local(example.image, here, (Path(here.anchor),), settings.max_bytes)
        return prepare(example.image, raw, settings)
    except ImageError as error:
        raise ConfigError(f"{key}: {error}") from None
