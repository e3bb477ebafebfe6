"""The stage before the network: images read and prepared, the prompt rendered. One bad image costs its row."""

from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.images.sources import ImageSource, source_name
from pipeline.prompts.plan import TurnPlan, images_by_turn
from pipeline.prompts.templates import Templates
from pipeline.records import ImageRecord, Item, PreparedImage
from pipeline.settings import SettingsPrompt

__all__ = ["Preparer", "ReadyItem", "known_images"]


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
    """Prepares items; decoding runs in worker threads, as many as `workers`."""

    def __init__(
        self,
        source: ImageSource,
        settings: PrepareSettings,
        templates: Templates,
        prompt: SettingsPrompt,
        workers: int,
    ) -> None:
        self._source = source
        self._settings = settings
        self._templates = templates
        self._prompt = prompt
        self._limiter = CapacityLimiter(workers)

    async def prepare(self, key: bytes, item: Item, settings: PrepareSettings | None = None) -> ReadyItem:
        """Everything that is needed before a request.

        Raises:
            ItemError: the row, an image or the prompt is at fault.
        """
        if item.problem is not None:
            raise item.problem
        texts = self._templates.texts(item)
        images = []
        for ref in item.images:
            raw = await self._source.read(ref)
            images.append(
                await to_thread.run_sync(
                    prepare, source_name(ref), raw, settings or self._settings, limiter=self._limiter
                )
            )
        turns = images_by_turn(self._prompt, item.images)
        plan = TurnPlan(
            texts,
            tuple(tuple(images[index] for index in turn) for turn in turns),
            (self._prompt.prefill or "").rstrip(),
            self._prompt.label_images,
        )
        return ReadyItem(key, item, tuple(images), plan)


def known_images(item: Item) -> tuple[ImageRecord, ...]:
    """What can be said of the images of an item that failed before they were prepared."""
    return tuple(ImageRecord(source_name(ref)) for ref in item.images)
