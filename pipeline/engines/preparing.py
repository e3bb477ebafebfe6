"""The stage before the network: images read and prepared, the prompt rendered. One bad image costs its row."""

from dataclasses import dataclass, replace
from functools import partial

from anyio import CapacityLimiter, to_thread

from pipeline.errors import ErrorType, ImageError
from pipeline.images.geometry import MANY_IMAGES, MANY_IMAGES_SIDE_PX, Bounds
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.images.sources import ImageSource, source_name
from pipeline.prompts.plan import TurnPlan, images_by_turn
from pipeline.prompts.templates import Templates
from pipeline.records import ImageRecord, Item, PreparedImage
from pipeline.settings import SettingsPrompt

__all__ = ["Preparer", "ReadyItem", "known_images"]

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


class Preparer:
    """Prepares items; decoding runs in worker threads, as many as `workers`.

    Args:
        source: reads images.
        settings: bounds and quality.
        templates: of the turns.
        prompt: which images go with which turn.
        workers: images decoded at once.
        most_images: of one item; the model refuses more.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the stage's parts, each given once where the run is put together
        self,
        source: ImageSource,
        settings: PrepareSettings,
        templates: Templates,
        prompt: SettingsPrompt,
        workers: int,
        most_images: int,
    ) -> None:
        self._source = source
        self._settings = settings
        self._templates = templates
        self._prompt = prompt
        self._limiter = CapacityLimiter(workers)
        self._most_images = most_images

    async def prepare(self, key: bytes, item: Item) -> ReadyItem:
        """Everything that is needed before a request.

        Raises:
            ItemError: the row, an image or the prompt is at fault.
        """
        if item.problem is not None:
            raise item.problem
        texts = self._templates.texts(item)
        settings = self._settings_for(item)
        images = []
        for ref in item.images:
            raw = await self._source.read(ref)
            images.append(await self._prepared(source_name(ref), raw, settings))
        return ReadyItem(key, item, tuple(images), self._plan(item, texts, tuple(images)))

    async def smaller(self, ready: ReadyItem) -> ReadyItem:
        """The same item with images of half the sides, for a service that found the request too large.

        Raises:
            ItemError: an image cannot be made smaller.
        """
        images = []
        for image in ready.images:
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
        return replace(ready, images=tuple(images), plan=self._plan(ready.item, ready.plan.texts, tuple(images)))

    async def _prepared(self, name: str, raw: bytes, settings: PrepareSettings) -> PreparedImage:
        return await to_thread.run_sync(partial(prepare, name, raw, settings), limiter=self._limiter)

    def _settings_for(self, item: Item) -> PrepareSettings:
        """The run's settings, made stricter for an item with many images, so that the service takes them together."""
        count = len(item.images)
        if count > self._most_images:
            raise ImageError(
                ErrorType.INVALID_REQUEST,
                f"{item.place}: {count} images; the model takes at most {self._most_images} in a request",
            )
        settings = self._settings
        share = _ROOM_BASE64_BYTES // max(1, count)
        side = MANY_IMAGES_SIDE_PX if count > MANY_IMAGES else settings.max_side_px
        return replace(
            settings,
            max_base64_bytes=min(settings.max_base64_bytes, share),
            max_side_px=min(settings.max_side_px, side),
        )

    def _plan(self, item: Item, texts: tuple[str, ...], images: tuple[PreparedImage, ...]) -> TurnPlan:
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
