"""A manifest looked at without preparing or sending anything: what each request would hold, by image headers alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from anyio import to_thread

from pipeline.api.messages import BodyWriter
from pipeline.api.text_tokens import TextTokens
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import Preparer
from pipeline.engines.selection import Keyed, Part
from pipeline.errors import ItemError
from pipeline.images.geometry import seed_tokens, tight_shrink
from pipeline.images.opening import read_header
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import source_name
from pipeline.prompts.plan import TurnPlan
from pipeline.prompts.templates import Templates
from pipeline.records import ImageRecord, ImageRef, PreparedImage

__all__ = ["EXPECTED_SHARE", "Asked", "Survey", "Surveyor", "counting_writer"]

EXPECTED_SHARE = 1 / 3
"""Of `api.max_tokens`, what an answer is expected to take."""
_LEAST_IMAGE_TOKENS = 64
_PATCH_AREA_BY_SEED = 28 * 28 / 750
_URLS = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it would be sent: visual tokens at the least and as expected, and characters."""

    least_visual: int
    visual: int
    characters: int


@dataclass(slots=True)
class Survey:
    """What a manifest holds, and what of it was looked at.

    Attributes:
        items: all of them.
        images: of all items.
        looked_at: items whose images were looked at.
        unmeasured: their images that stand behind URLs.
        seed: visual tokens of their images by the older rule.
        asked: the requests of each of them that would be sent.
        faults: of those that would fail before.
        first: the first that would be asked about.
    """

    items: int = 0
    images: int = 0
    looked_at: int = 0
    unmeasured: int = 0
    seed: float = 0.0
    asked: list[list[Asked]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    first: Keyed | None = None


class Surveyor:
    """Looks at items without sending or preparing anything."""

    def __init__(self, plan: RunPlan, preparer: Preparer, templates: Templates, survey: Survey) -> None:
        self._preparer = preparer
        self._templates = templates
        self._survey = survey
        is_handed_over = plan.config.images.transport == "url"
        self._most_visual = (plan.model if is_handed_over else plan.images).bounds.max_tokens
        self._writers = [counting_writer(plan, last=last, most_visual=self._most_visual) for last in (False, True)]
        rate = TextTokens.of(plan.model).expected
        self._reply = "x" * round(plan.writers.max_tokens * EXPECTED_SHARE / rate)

    async def through(self, batches: Iterator[list[Keyed]], part: Part, most_items: int) -> None:
        """Counts every item, and looks at those of the part, at most so many."""
        while (batch := await to_thread.run_sync(next, batches, None)) is not None:
            for keyed in batch:
                self._survey.items += 1
                self._survey.images += len(keyed[1].images)
                if self._survey.looked_at < most_items and part.holds(keyed[1].item_id):
                    await self._look(keyed)

    async def _look(self, keyed: Keyed) -> None:
        survey, item = self._survey, keyed[1]
        survey.looked_at += 1
        try:
            if item.problem is not None:
                raise item.problem
            texts = self._templates.texts(item)
            settings = self._preparer.settings_for(item)
            images = tuple([await self._measured(ref, settings) for ref in item.images])
        except ItemError as error:
            survey.faults.append(f"{item.item_id[:100]}: {error.error_type}")
            return
        survey.first = survey.first or keyed
        survey.unmeasured += sum(image.record.sent_width is None for image in images)
        survey.seed += sum(self._by_seed(image.record) for image in images)
        plan = self._preparer.plan_of(item, texts, images)
        survey.asked.append([self._asked(plan, turn) for turn in range(len(texts))])

    def _asked(self, plan: TurnPlan, turn: int) -> Asked:
        """The request of one turn, counted from 0."""
        messages = plan.messages([self._reply] * turn)
        visual, characters = self._writers[turn == len(plan.texts) - 1].need(messages)
        images = [part for message in messages for part in message.parts if isinstance(part, PreparedImage)]
        unknown = sum(image.record.sent_width is None for image in images)
        return Asked(visual - unknown * max(0, self._most_visual - _LEAST_IMAGE_TOKENS), visual, characters)

    async def _measured(self, ref: ImageRef, settings: PrepareSettings) -> PreparedImage:
        """The image with the size that it would be sent with; without one where it stands behind a URL."""
        name = source_name(ref)
        if ref.data is None and ref.source.lower().startswith(_URLS):
            return PreparedImage(b"", ImageRecord(name))
        raw = await self._preparer.original(ref)
        look = partial(read_header, name, raw, max_bytes=settings.max_bytes, max_pixels=settings.max_pixels)
        header = await to_thread.run_sync(look)
        bounds = replace(settings.bounds, max_edge=min(settings.bounds.max_edge, settings.max_side_px))
        width, height = tight_shrink(header.width, header.height, bounds)
        return PreparedImage(b"", ImageRecord(name, sent_width=width, sent_height=height))

    def _by_seed(self, record: ImageRecord) -> float:
        if record.sent_width is None or record.sent_height is None:
            return self._most_visual * _PATCH_AREA_BY_SEED
        return seed_tokens(record.sent_width, record.sent_height)


def counting_writer(plan: RunPlan, *, last: bool, most_visual: int) -> BodyWriter:
    """A writer that knows what of the settings the model reads, for counting alone."""
    settings = {name: value for name, value in plan.settings(last=last).items() if name in ("system", "tools")}
    output = plan.settings(last=last).get("output_config", {}).get("format")
    if output is not None:
        settings["output_config"] = {"format": output}
    return BodyWriter(settings, plan.examples, unseen_tokens=most_visual)
