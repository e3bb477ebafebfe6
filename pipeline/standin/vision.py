"""What the stand-in sees in an image: it decodes every one and measures what a caption can state of it."""

import base64
import binascii
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

from PIL import Image

from pipeline.standin.blocks import Block
from pipeline.standin.models import ModelFacts
from pipeline.standin.patches import fits, seen_size, visual_tokens
from pipeline.standin.problems import Problem
from pipeline.standin.shapes import Kinds, check_choice, check_fields

__all__ = ["Files", "SeenImage", "look", "look_at", "no_files"]

Files = Callable[[str], bytes]
"""The bytes of an uploaded file by its id; a `Problem` where there is none."""

_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
_SOURCES: dict[str, dict[str, Kinds]] = {
    "base64": {"media_type": str, "data": str},
    "url": {"url": str},
    "file": {"file_id": str},
}
_MOST_SIDE = 8000
_MANY = 20
_MANY_SIDE = 2000
_URL_TOKENS = 1568
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What one image block held: the hash of its bytes, its stored size in px, its dominant colours.

    Nothing of its metadata is read, so a picture that lies on its side is seen lying on its side. `likely` is what a
    model takes it for, empty where it is not sure, `None` where none has looked.
    """

    sha256: str
    width: int
    height: int
    colours: tuple[str, ...]
    stated: str = ""
    likely: str | None = None

    @property
    def sentence(self) -> str:
        """What a caption says of it."""
        if self.stated:
            return self.stated
        shape = "square" if self.width == self.height else "landscape" if self.width > self.height else "portrait"
        tones = ", ".join(self.colours)
        likely = f"likely: {self.likely}; " if self.likely else ""
        return f"{self.width}x{self.height} {shape} picture; {likely}mostly {tones}; sha256 {self.sha256[:12]}"


class _Memory:
    """What was seen in the newest few thousand images, by the hash of their bytes; some 300 bytes each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, SeenImage] = {}

    def seen(self, raw: bytes) -> SeenImage:
        digest = sha256(raw).hexdigest()
        with self._lock:
            known = self._seen.get(digest)
        if known is None:
            known = _decoded(raw, digest)
            with self._lock:
                self._seen[digest] = known
                if len(self._seen) > _REMEMBERED:
                    del self._seen[next(iter(self._seen))]
        return known


_memory = _Memory()


def no_files(file_id: str) -> bytes:
    """The files of a server that has none.

    Raises:
        Problem: 404, always.
    """
    raise Problem.not_found(f"File not found: {file_id}")


def look_at(
    blocks: Sequence[tuple[str, Block]], model: ModelFacts, max_base64: int, files: Files = no_files
) -> tuple[list[SeenImage], list[int]]:
    """Decodes the images of a request: what is seen in each, and its tokens.

    Args:
        blocks: every image block of the request with its place.
        model: whose limits hold.
        max_base64: the most characters of one image's base64 text.
        files: the bytes of an uploaded file.

    Raises:
        Problem: the service would refuse one of them.
    """
    if len(blocks) > model.images:
        raise Problem.invalid(f"messages: at most {model.images} images are allowed, found {len(blocks)}")
    seen = [_look(block, f"{where}.image", max_base64, files) for where, block in blocks]
    _check_sides([(where, image) for (where, _), image in zip(blocks, seen, strict=True)], len(blocks) > _MANY)
    for (where, block), image in zip(blocks, seen, strict=True):
        _check_oversize(block, f"{where}.image", image, model)
    return seen, [_tokens(image, model) for image in seen]


def look(block: Block, where: str, many: bool, max_base64: int, model: ModelFacts) -> tuple[SeenImage, int]:
    """One image block by itself; `many` says whether its request has more than twenty.

    Raises:
        Problem: the service would refuse it.
    """
    image = _look(block, where, max_base64, no_files)
    _check_sides([(where.removesuffix(".image"), image)], many)
    _check_oversize(block, where, image, model)
    return image, _tokens(image, model)


def _tokens(image: SeenImage, model: ModelFacts) -> int:
    return min(_URL_TOKENS, model.cap) if image.stated else visual_tokens(image.width, image.height, model)


def _look(block: Block, where: str, max_base64: int, files: Files) -> SeenImage:
    source = block["source"]
    kind = source.get("type")
    check_choice(kind, f"{where}.source.type", tuple(_SOURCES))
    check_fields(source, f"{where}.source.{kind}", {"type": str, **_SOURCES[kind]}, {})
    if kind == "file":
        return _by_file(files(source["file_id"]), f"{where}.source.file", max_base64)
    if kind == "url":
        return _by_url(source["url"], where)
    where = f"{where}.source.base64"
    text, declared = source["data"], source["media_type"]
    check_choice(declared, f"{where}.media_type", tuple(_FORMATS))
    _check_length(len(text), where, max_base64)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem.invalid(f"{where}.data: invalid base64 data") from None
    found = _sniffed(raw)
    if found is not None and found != declared:
        raise Problem.invalid(f"{where}: the image was specified as {declared}, but appears to be {found}")
    return _memory.seen(raw)


def _by_file(raw: bytes, where: str, max_base64: int) -> SeenImage:
    """An uploaded image: the limits of images hold for it as well."""
    _check_length(4 * -(-len(raw) // 3), where, max_base64)
    if _sniffed(raw) is None:
        raise Problem.invalid(f"{where}: the file is not an image")
    return _memory.seen(raw)


def _check_length(length: int, where: str, most: int) -> None:
    if length > most:
        raise Problem.invalid(f"{where}: image exceeds {most / 1_048_576:g} MB maximum: {length} bytes > {most} bytes")


def _sniffed(raw: bytes) -> str | None:
    """The media type by the first bytes, `None` for none of the four."""
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" else None


def _decoded(raw: bytes, digest: str) -> SeenImage:
    """Decodes the whole picture, but none whose sides are refused anyway: that bounds the memory at 256 MB each."""
    try:
        with Image.open(BytesIO(raw), formats=tuple(_FORMATS.values())) as image:
            width, height = image.size
            if max(width, height) > _MOST_SIDE:
                return SeenImage(digest, width, height, ())
            image.load()
            colours = _colours(image)
    except Exception:  # noqa: BLE001 - the service tells no decoder's error from another
        raise Problem.invalid("Could not process image") from None
    return SeenImage(digest, width, height, colours)


def _colours(image: Image.Image) -> tuple[str, ...]:
    plain = image.convert("RGBA") if "transparency" in image.info else image  # Pillow warns of one step for these
    reduced = plain.convert("RGB").resize((16, 16), Image.Resampling.BOX).quantize(2)
    palette = reduced.getpalette() or []
    counts = sorted(reduced.getcolors() or [], reverse=True)
    return tuple("#" + "".join(f"{value:02x}" for value in palette[3 * int(str(at)) :][:3]) for _, at in counts)


def _check_sides(images: list[tuple[str, SeenImage]], many: bool) -> None:
    for kind, most in (("max allowed size", _MOST_SIDE), ("max allowed size for many-image requests", _MANY_SIDE)):
        wrong = [where for where, image in images if max(image.width, image.height) > most]
        if wrong and (many or most == _MOST_SIDE):
            raise Problem.invalid(
                f"{wrong[0]}.image.source.base64.data: At least one of the image dimensions exceed {kind}: "
                f"{most} pixels",
                {"error_code": "image_dimensions_too_large", "max_side_length_pixels": most, "paths": wrong},
            )


def _check_oversize(block: Block, where: str, image: SeenImage, model: ModelFacts) -> None:
    if (block.get("transformations") or {}).get("oversized_image") != "error" or image.stated:
        return
    if not fits(image.width, image.height, model):
        width, height = seen_size(image.width, image.height, model)
        raise Problem.invalid(
            f"{where}: image dimensions {image.width}x{image.height} are larger than the model sees; "
            f"the largest that fit are {width}x{height}"
        )


def _by_url(url: str, where: str) -> SeenImage:
    if not url.startswith("https://"):
        raise Problem.invalid(f"{where}.source.url.url: only https URLs are supported")
    digest = sha256(url.encode()).hexdigest()
    return SeenImage(digest, 0, 0, (), f"picture behind a URL; sha256 of the URL {digest[:12]}")
