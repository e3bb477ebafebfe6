"""`pipeline estimate`: what a run would take and cost, from the headers of its images alone. Nothing is sent.

Input
    Images by the patch rule, at the size they would be sent with; text by its characters (see `text_tokens`), templates
    rendered; every turn carries the turns before it. An image behind a URL is not fetched: it counts as the largest
    that may be sent, and as one of 200 x 200 px at the least.
Output
    Nobody knows it before. An answer is expected to take a third of `api.max_tokens`, a twentieth at the least, all of
    it at the most. Answers that are asked again, and turns of tools, are not in it.
Samples
    Of a large manifest the images of a sample of items are looked at, the same in every run, and the sums scaled;
    the bounds then widen by two standard errors. Of standard input, which is read once, they are the first ones.

With `online` one free `count_tokens` call for one item replaces the guess about its text.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from anyio import to_thread

from pipeline.api.catalogue import cost_usd
from pipeline.api.messages import BodyWriter, parse_error
from pipeline.api.text_tokens import Calibration, TextTokens
from pipeline.api.transport import Session, Unanswered, open_session
from pipeline.engines.batches.deadlines import chosen_mode
from pipeline.engines.plan import RunPlan
from pipeline.engines.preparing import Preparer, ReadyItem
from pipeline.engines.selection import Choice, Part, chosen, chosen_part
from pipeline.engines.surveying import EXPECTED_SHARE, Asked, Survey, Surveyor, counting_writer
from pipeline.errors import ItemError, PipelineError
from pipeline.images.sources import ImageSource
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.records import Usage
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer

__all__ = ["SAMPLE_ITEMS", "Estimate", "ModeEstimate", "run_estimate"]

SAMPLE_ITEMS = 2000
"""Items whose images are looked at: some seconds of reading."""
_LEAST_SHARE = 1 / 20


@dataclass(frozen=True, slots=True)
class ModeEstimate:
    """What a run takes in one mode; money is `None` where the price is not known."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cost_usd_low: float | None
    cost_usd_high: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        items: of the manifest.
        images: of them all.
        image_tokens: visual tokens, in every turn that carries them; part of the input.
        seed_image_tokens: of each image once, by the older rule w*h/750.
        modes: by name.
        sampled: items whose images were looked at.
        remarks: what is uncertain, one line each.
        mode: by which a run of this configuration would ask.
    """

    items: int
    images: int
    image_tokens: int
    seed_image_tokens: int
    modes: dict[str, ModeEstimate]
    sampled: int
    remarks: tuple[str, ...] = ()
    mode: Literal["messages", "batches"] = "messages"

    def as_dict(self) -> dict[str, Any]:
        """As `estimate --json` prints it."""
        modes = {
            name: {each: getattr(mode, each) for each in ModeEstimate.__dataclass_fields__}
            for name, mode in self.modes.items()
        }
        return {
            "items": self.items,
            "images": self.images,
            "modes": modes,
            "mode": self.mode,
            "seed_image_tokens": self.seed_image_tokens,
            "image_tokens": self.image_tokens,
            "sampled_items": self.sampled,
            "remarks": list(self.remarks),
        }


async def run_estimate(plan: RunPlan, *, online: bool = False, most_items: int = SAMPLE_ITEMS) -> Estimate:
    """The estimate of a plan.

    Args:
        plan: what would be run.
        online: whether the service is asked to count one item, which is free.
        most_items: how many are looked at.

    Raises:
        PipelineError: the manifest cannot be read.
    """
    sample = Survey()
    part = Part()
    if plan.manifest.path != "-":
        part = await to_thread.run_sync(chosen_part, plan.manifest, Choice(sample=most_items))
    with await to_thread.run_sync(open_manifest, plan.manifest) as manifest:
        templates = plan.templates(manifest)
        async with ImageSource(plan.sources(manifest)) as source, plan.decoders(1) as decoders:
            preparer = plan.preparer(source, templates, decoders)
            with TemporaryDirectory() as scratch, SeenItems(Path(scratch)) as seen:
                batches = chosen(manifest, seen, Part())
                await Surveyor(plan, preparer, templates, sample).through(batches, part, most_items)
            calibration = await _counted(plan, preparer, sample) if online else None
    return _summed(plan, sample, calibration)


async def _counted(plan: RunPlan, preparer: Preparer, sample: Survey) -> Calibration | str:
    """What the service counts for the first item, or why it was not asked."""
    if sample.first is None:
        return "no item could be counted"
    try:
        ready = await preparer.whole(await preparer.prepare(*sample.first))
        if plan.is_embedded:
            with StandinServer(StandinOptions()) as server:
                return await _count(plan, ready, server.url)
        return await _count(plan, ready, None)
    except (ItemError, Unanswered, PipelineError) as error:
        return f"not calibrated: {error}"


async def _count(plan: RunPlan, ready: ReadyItem, embedded: str | None) -> Calibration | str:
    last = len(ready.plan.texts) == 1
    counted = ("model", "system", "thinking", "output_config", "tools", "tool_choice")
    settings = {name: value for name, value in plan.settings(last=last).items() if name in counted}
    messages = ready.plan.messages([])
    async with open_session(plan.endpoints(embedded)[0], 1) as session:
        reply = await _posted(session, BodyWriter(settings, plan.examples).body(messages))
    if isinstance(reply, str):
        return reply
    visual, characters = counting_writer(plan, last=last, most_visual=plan.images.bounds.max_tokens).need(messages)
    return Calibration(reply, visual, characters)


async def _posted(session: Session, body: bytes) -> int | str:
    reply = await session.post("/v1/messages/count_tokens", body)
    if reply.status != 200:
        said = parse_error(reply.body, reply.status)
        return f"not calibrated: count_tokens: HTTP {reply.status}: {said.message}"
    try:
        tokens = json.loads(reply.body)["input_tokens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        tokens = None
    return tokens if isinstance(tokens, int) else "not calibrated: count_tokens: the answer has no count"


def _summed(plan: RunPlan, sample: Survey, calibration: Calibration | str | None) -> Estimate:
    text = (calibration.text if isinstance(calibration, Calibration) else None) or TextTokens.of(plan.model)
    scale = sample.items / sample.looked_at if sample.looked_at else 0.0
    images = sum(asked.visual for turns in sample.asked for asked in turns)
    modes = {name: _mode(plan, sample, text, batch=name == "batches") for name in ("messages", "batches")}
    return Estimate(
        items=sample.items,
        images=sample.images,
        image_tokens=round(images * scale),
        seed_image_tokens=round(sample.seed * scale),
        modes=modes,
        sampled=sample.looked_at,
        mode=chosen_mode(plan.config.api),
        remarks=tuple(_remarks(plan, sample, calibration)),
    )


def _mode(plan: RunPlan, sample: Survey, text: TextTokens, *, batch: bool) -> ModeEstimate:
    rows = [_bounds(plan, turns, text, batch=batch) for turns in sample.asked]
    rows += [[(0, 0, 0.0)] * 3] * (sample.looked_at - len(rows))  # items that fail before they are sent cost nothing
    columns = [_scaled([row[at] for row in rows], sample.items) for at in range(3)]
    (_, _, low, _), (inputs, outputs, expected, spread), (_, _, high, _) = columns
    write = _first_write_usd(plan, batch=batch) if rows else 0.0
    if not plan.model.priced:
        return ModeEstimate(round(inputs), round(outputs), None, None, None)
    money = (expected + write, max(0.0, low - spread), high + write + spread)
    return ModeEstimate(round(inputs), round(outputs), *(round(usd, 9) for usd in money))


def _bounds(plan: RunPlan, turns: Sequence[Asked], text: TextTokens, *, batch: bool) -> list[tuple[int, int, float]]:
    """One item's input, output and cost: at the least, as expected, at the most."""
    cap = plan.writers.max_tokens
    shares = (_LEAST_SHARE, EXPECTED_SHARE, 1.0)
    cached = (plan.prefix.is_cached, plan.prefix.is_cached and not batch, plan.prefix.is_surely_cached and not batch)
    found = []
    for at, (rate, share) in enumerate(zip(text, shares, strict=True)):
        prefix = plan.prefix.tokens if plan.is_cached and cached[at] else 0
        total_in = total_out = 0
        cost = 0.0
        for asked in turns:
            tokens = (asked.least_visual if at == 0 else asked.visual) + round(asked.characters * rate)
            output = max(1, round(cap * share))
            usage = Usage(max(0, tokens - prefix), output, 0, prefix)
            total_in, total_out = total_in + tokens, total_out + output
            cost += cost_usd(plan.model, usage, batch=batch) or 0.0
        found.append((total_in, total_out, cost))
    return found


def _first_write_usd(plan: RunPlan, *, batch: bool) -> float:
    """What the one request that writes the cached prefix costs beyond one that reads it."""
    if not plan.is_cached or not plan.prefix.is_cached or batch:
        return 0.0
    tokens = plan.prefix.tokens
    write, read = (cost_usd(plan.model, usage) or 0.0 for usage in (Usage(0, 0, tokens, 0), Usage(0, 0, 0, tokens)))
    return write - read


def _scaled(rows: list[tuple[int, int, float]], items: int) -> tuple[float, float, float, float]:
    """The sums of a sample as those of all items, and two standard errors of the money."""
    if not rows:
        return 0.0, 0.0, 0.0, 0.0
    count, scale = len(rows), items / len(rows)
    sums = [math.fsum(row[at] for row in rows) for at in range(3)]
    mean = sums[2] / count
    variance = math.fsum((row[2] - mean) ** 2 for row in rows) / max(1, count - 1)
    spread = 2 * items * math.sqrt(variance / count * max(0.0, 1 - count / items))
    return sums[0] * scale, sums[1] * scale, sums[2] * scale, spread


def _remarks(plan: RunPlan, sample: Survey, calibration: Calibration | str | None) -> Iterator[str]:
    yield from plan.remarks
    if sample.looked_at < sample.items:
        yield f"the images of {sample.looked_at:,} of {sample.items:,} items were looked at"
    if sample.unmeasured:
        yield f"{sample.unmeasured:,} images behind URLs were not fetched, and count as the largest that may be sent"
    if sample.faults:
        shown = ", ".join(sample.faults[:3])
        yield f"{len(sample.faults):,} of {sample.looked_at:,} items would fail before they are sent: {shown}"
    if isinstance(calibration, str):
        yield calibration
    elif calibration is not None:
        within = calibration.counted_tokens, calibration.image_tokens, calibration.characters
        yield "calibrated: the service counts {} tokens for the first item, {} of images, {} characters".format(*within)
