"""The stage before the network: images read and prepared, the prompt rendered. One bad image costs its row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import ErrorType, ImageError
from pipeline.images.decoders import Decoders
from pipeline.images.geometry import MANY_IMAGES, MANY_IMAGES_SIDE_PX, Bounds, base64_length
from pipeline.images.linking import is_linkable
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import ImageSource, source_name
from pipeline.prompts.plan import TurnPlan, images_by_turn
from pipeline.prompts.templates import Templates
from pipeline.records import ImageLink, ImageRecord, ImageRef, Item, PreparedImage
from pipeline.settings import SettingsPrompt

__all__ = ["Preparer", "ReadyItem", "Room", "known_images"]

_ROOM_BASE64_BYTES = 30_000_000
"""Of the 32 MB that a request may have (the reference's section 4.1), what its images may take together."""


@dataclass(frozen=True, slots=True)
class ReadyItem:
    """An item that can be asked about.

    Attributes:
        key: under which it is settled.
        images: prepared, in the manifest's order.
        plan: the conversation.
    """

    key: bytes
    item: Item
    images: tuple[PreparedImage, ...]
    plan: TurnPlan

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """The rows of the `images` column."""
        return tuple(image.record for image in self.images)


@dataclass(frozen=True, slots=True)
class Room:
    """What a request has for the images of an item.

    Attributes:
        most_images: of one request; the model refuses more.
        taken_images: of them, those of the few-shot examples.
        taken_base64_bytes: what these take of the request's size.
        links_urls: whether public URLs are handed over to the service instead of the image.
    """

    most_images: int
    taken_images: int = 0
    taken_base64_bytes: int = 0
    links_urls: bool = False

    @classmethod
    def beside(cls, examples: Sequence[PreparedImage], most_images: int, *, links_urls: bool = False) -> "Room":
        """What these images of examples leave."""
        taken = sum(base64_length(len(image.body)) for image in examples)
        return cls(most_images, len(examples), taken, links_urls)


class Preparer:
    """Prepares items.

    Args:
        source: reads images.
        settings: bounds and quality.
        templates: of the turns.
        prompt: which images go with which turn.
        room: what a request has for them.
        decoders: where images are decoded.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stage's parts, each given once where the run is put together
        self,
        source: ImageSource,
        settings: PrepareSettings,
        templates: Templates,
        prompt: SettingsPrompt,
        room: Room,
        decoders: Decoders,
    ) -> None:
        self._source = source
        self._settings = settings
        self._templates = templates
        self._prompt = prompt
        self._room = room
        self._decoders = decoders

    async def prepare(self, key: bytes, item: Item) -> ReadyItem:
        """Everything that is needed before a request.

        Raises:
            ItemError: the row, an image or the prompt is at fault.
        """
        if item.problem is not None:
            raise item.problem
        texts = self._templates.texts(item)
        settings = self.settings_for(item)
        images = [self._linked(ref) or await self._read(ref, settings) for ref in item.images]
        return ReadyItem(key, item, tuple(images), self.plan_of(item, texts, tuple(images)))

    async def smaller(self, ready: ReadyItem) -> ReadyItem:
        """The same item with images of half the sides, for a service that found the request too large.

        Raises:
            ItemError: an image cannot be made smaller.
        """
        images = []
        for image in ready.images:
            if not image.body:
                images.append(image)  # behind a URL: it takes no room
                continue
            long = max(image.record.sent_width or 1, image.record.sent_height or 1)
            settings = replace(self._settings, bounds=Bounds(max(28, long // 2), self._settings.bounds.max_tokens))
            less = await self._prepared(image.record.source, image.body, settings)
            sent = less.record
            record = replace(
                image.record,
                sent_sha256=sent.sent_sha256,
                sent_media_type=sent.sent_media_type,
                sent_width=sent.sent_width,
                sent_height=sent.sent_height,
                sent_bytes=sent.sent_bytes,
                warnings=(*image.record.warnings, "shrunk_for_request"),
            )
            images.append(PreparedImage(less.body, record, image.thumbnail))
        return self.with_images(ready, images)

    async def whole(self, ready: ReadyItem) -> ReadyItem:
        """The same item with every image sent in the request itself; those that were not so far say it in a warning.

        Raises:
            ItemError: an image behind a URL cannot be had, or cannot be prepared.
        """
        settings = self.settings_for(ready.item)
        images = []
        for ref, image in zip(ready.item.images, ready.images, strict=True):
            if image.link is None:
                images.append(image)
                continue
            sent = image if image.body else await self._read(ref, settings)
            record = replace(sent.record, warnings=(*sent.record.warnings, f"{image.link.kind}_refused"))
            images.append(PreparedImage(sent.body, record, sent.thumbnail))
        return self.with_images(ready, images)

    def with_images(self, ready: ReadyItem, images: Sequence[PreparedImage]) -> ReadyItem:
        """The same item with these in the place of its images."""
        return replace(ready, images=tuple(images), plan=self.plan_of(ready.item, ready.plan.texts, tuple(images)))

    async def original(self, ref: ImageRef) -> bytes:
        """The file behind an image.

        Raises:
            ImageError: it cannot be had.
        """
        return await self._source.read(ref)

    @property
    def result_settings(self) -> PrepareSettings:
        """For images that join a conversation while it goes: fit for a request with many, and a share of its size."""
        side = min(self._settings.max_side_px, MANY_IMAGES_SIDE_PX)
        most = min(self._settings.max_base64_bytes, _ROOM_BASE64_BYTES // MANY_IMAGES)
        return replace(self._settings, max_side_px=side, max_base64_bytes=most, thumbnail_edge=0)

    async def result(self, name: str, raw: bytes) -> PreparedImage:
        """An image that a tool gave back, ready to send.

        Raises:
            ImageError: it cannot be prepared.
        """
        return await self._prepared(name, raw, self.result_settings)

    def _linked(self, ref: ImageRef) -> PreparedImage | None:
        """The image as a URL for the service, of which no more is known; `None` for one that is sent whole."""
        if not self._room.links_urls or ref.data is not None or not is_linkable(ref.source):
            return None
        return PreparedImage(b"", ImageRecord(source_name(ref)), link=ImageLink("url", ref.source))

    async def _read(self, ref: ImageRef, settings: PrepareSettings) -> PreparedImage:
        return await self._prepared(source_name(ref), await self._source.read(ref), settings)

    async def _prepared(self, name: str, raw: bytes, settings: PrepareSettings) -> PreparedImage:
        return await self._decoders.prepare(name, raw, settings)

    def settings_for(self, item: Item) -> PrepareSettings:
        """The run's settings, made stricter for an item with many images, so that the service takes them together.

        Raises:
            ImageError: these are more images than the model takes.
        """
        count = sum(map(len, images_by_turn(self._prompt, item.images)))  # a column may stand in several turns
        room, settings = self._room, self._settings
        if count + room.taken_images > room.most_images:
            beside = f" beside {room.taken_images} of examples" if room.taken_images else ""
            raise ImageError(
                ErrorType.INVALID_REQUEST,
                f"{item.place}: {count} images{beside}; the model takes at most {room.most_images} in a request",
            )
        share = max(1, _ROOM_BASE64_BYTES - room.taken_base64_bytes) // max(1, count)
        side = MANY_IMAGES_SIDE_PX if count + room.taken_images > MANY_IMAGES else settings.max_side_px
        return replace(
            settings,
            max_base64_bytes=min(settings.max_base64_bytes, share),
            max_side_px=min(settings.max_side_px, side),
        )

    def plan_of(self, item: Item, texts: tuple[str, ...], images: tuple[PreparedImage, ...]) -> TurnPlan:
        """The item's conversation with these images."""
        turns = images_by_turn(self._prompt, item.images)
        return TurnPlan(
            texts,
            tuple(tuple(images[index] for index in turn) for turn in turns),
            (self._prompt.prefill or "").rstrip(),
            self._prompt.label_images,
        )


def known_images(item: Item) -> tuple[ImageRecord, ...]:
    """What can be said of the images of an item that failed before they were prepared."""
    return tuple(ImageRecord(source_name(ref)) for ref in item.images)
