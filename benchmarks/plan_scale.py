"""What a million, a hundred million and a billion captions take: hours, dollars, cores and bytes, and what binds.

Arithmetic over measured figures and published limits, so that the tables of docs/scale.md can be made again when one of
them changes: `python -m benchmarks.plan_scale` prints them as Markdown. Prices are those of the shipped catalogue.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.api.catalogue import Catalogue, cost_usd
from pipeline.records import Usage

__all__ = ["SIZES", "TIERS", "Figures", "Plan", "Tier", "batches", "messages", "tables"]

SIZES = (1_000_000, 100_000_000, 1_000_000_000)
MODELS = ("claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5")


@dataclass(frozen=True)
class Tier:
    """A usage tier of the service, as published on 2026-08-22: per minute and per model class, dollars per month.

    Attributes:
        batch_queue: requests of batches that wait, over all models.
    """

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    batch_queue: int
    batch_calls: int
    month_usd: float


TIERS = (
    Tier("Start", 1_000, 2_000_000, 400_000, 200_000, 1_000, 500.0),
    Tier("Build", 5_000, 5_000_000, 1_000_000, 300_000, 2_000, 1_000.0),
    Tier("Scale", 10_000, 10_000_000, 2_000_000, 500_000, 4_000, 200_000.0),
)


@dataclass(frozen=True)
class Figures:
    """One image, measured.

    Attributes:
        image_tokens: a photograph of 3:4 at the default bound (34 x 46 patches).
        text_tokens: system text and prompt.
        output_tokens: a caption of some 70 words.
        cpu_s: from a JPEG of 12 megapixels on disk to its row: two cores made 23.5 a second, the server included.
        small_cpu_s: likewise, of 2 megapixels.
        sent_bytes: of the prepared JPEG.
        row_bytes: of its rows in results and requests.
        index_bytes: of its entry in a journal's index.
        manifest_rows: that one core walks in a second, Parquet.
        used: the part of a limit that a run uses.
        latency_s: of an answer.
        batch_s: that a batch takes; most end within an hour, all within 24.
        load: the part of a core that is planned for.
        core_usd: an hour of one core.
    """

    image_tokens: int = 1564
    text_tokens: int = 60
    output_tokens: int = 100
    cpu_s: float = 0.085
    small_cpu_s: float = 0.059
    sent_bytes: int = 190_000
    row_bytes: int = 600
    index_bytes: int = 27
    manifest_rows: int = 260_000
    used: float = 0.95
    latency_s: float = 3.0
    batch_s: float = 3600.0
    load: float = 0.7
    core_usd: float = 0.04

    @property
    def usage(self) -> Usage:
        """Tokens of one request."""
        return Usage(self.image_tokens + self.text_tokens, self.output_tokens)


@dataclass(frozen=True)
class Plan:
    """One job in one mode at one tier.

    Attributes:
        per_minute: images, once it runs.
        binding: what keeps it from more.
        api_usd: what the service bills.
        months: that the tier's monthly bound of spending takes.
        cores: that are busy, and `in_flight` requests.
        mbit_s: that are sent.
        cores_usd: for the cores, over these hours.
    """

    images: int
    mode: str
    tier: str
    per_minute: float
    binding: str
    hours: float
    api_usd: float
    months: float
    cores: int
    in_flight: int
    mbit_s: float
    cores_usd: float


def messages(images: int, tier: Tier, model: str, figures: Figures) -> Plan:
    """`api.mode = "messages"`: the rate limits bind."""
    usage = figures.usage
    bounds = {
        "requests": tier.requests,
        "input tokens": tier.input_tokens / usage.input_tokens,
        "output tokens": tier.output_tokens / usage.output_tokens,
    }
    binding = min(bounds, key=lambda name: bounds[name])
    return _plan(images, "messages", tier, (bounds[binding] * figures.used, binding), model, figures)


def batches(images: int, tier: Tier, model: str, figures: Figures) -> Plan:
    """`api.mode = "batches"`: the queue binds, or the calls that fill it."""
    per_batch = min(100_000, int(256_000_000 / (figures.sent_bytes * 4 / 3 + 1_000)))
    bounds = {
        "queue": tier.batch_queue * 60 / figures.batch_s,
        "calls": tier.batch_calls * per_batch / 4,  # made, looked at twice, read
    }
    binding = min(bounds, key=lambda name: bounds[name])
    return _plan(images, "batches", tier, (bounds[binding], binding), model, figures)


def _plan(  # noqa: PLR0913, PLR0917 - the axes of the table
    images: int, mode: str, tier: Tier, rate: tuple[float, str], model: str, figures: Figures
) -> Plan:
    per_minute, binding = rate
    api_usd = images * (cost_usd(Catalogue().model(model), figures.usage, batch=mode == "batches") or 0.0)
    hours = images / per_minute / 60
    busy = per_minute / 60 * figures.cpu_s
    cores = math.ceil(busy / figures.load)
    return Plan(
        images=images,
        mode=mode,
        tier=tier.name,
        per_minute=per_minute,
        binding=binding,
        hours=hours,
        api_usd=api_usd,
        months=api_usd / tier.month_usd,
        cores=cores,
        in_flight=math.ceil(per_minute / 60 * figures.latency_s) if mode == "messages" else 0,
        mbit_s=per_minute / 60 * figures.sent_bytes * 4 / 3 * 8 / 1e6,
        cores_usd=cores * hours * figures.core_usd,
    )


def tables(model: str, figures: Figures) -> Iterator[str]:
    """The tables as lines of Markdown."""
    yield "| images | mode | tier | images/min | bound by | hours | USD | months by the spend bound | cores | in flight | Mbit/s | USD for cores |"  # noqa: E501
    yield "| ---: | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for images in SIZES:
        for plan_one in (messages, batches):
            for tier in TIERS:
                plan = plan_one(images, tier, model, figures)
                yield (
                    f"| {images:,} | {plan.mode} | {plan.tier} | {plan.per_minute:,.0f} | {plan.binding} "
                    f"| {plan.hours:,.0f} | {plan.api_usd:,.0f} | {plan.months:,.1f} | {plan.cores} "
                    f"| {plan.in_flight or ''} | {plan.mbit_s:,.0f} | {plan.cores_usd:,.0f} |"
                )


def dataset(figures: Figures, shards: int) -> Iterator[str]:
    """What the dataset and its journals come to."""
    yield "| images | rows, GB | parts of each table | index, GB | of it in each shard, GB | one walk of the manifest, core-hours | by all shards, core-hours |"  # noqa: E501
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for images in SIZES:
        index, walk = images * figures.index_bytes / 1e9, images / figures.manifest_rows / 3600
        yield (
            f"| {images:,} | {images * figures.row_bytes / 1e9:,.1f} | {math.ceil(images / 50_000):,} | {index:,.2f} "
            f"| {index / shards:,.3f} | {walk:,.2f} | {walk * shards:,.1f} |"
        )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--shards", type=int, default=32)
    chosen = parser.parse_args(sys.argv[1:])
    figures = Figures()
    for model in chosen.models.split(","):
        print(f"\n`{model}`:\n")
        print("\n".join(tables(model, figures)))
    print(f"\nThe dataset, in {chosen.shards} shards:\n")
    print("\n".join(dataset(figures, chosen.shards)))


if __name__ == "__main__":
    main()
