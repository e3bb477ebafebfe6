"""Which items of the manifest this run takes up: duplicates, `--limit`, `--sample`, `--shard`, and what is settled.

Runs in a worker thread, batch by batch, with its own read connection to the journal.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError, ErrorType
from pipeline.images.sources import source_name
from pipeline.manifest.identity import in_shard, sample_rank
from pipeline.manifest.producer import Manifest, ManifestSettings, open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.records import Item
from pipeline.store.journal import Journal, SettledAs, Standing, item_key
from pipeline.store.recovery import duplicate_key

__all__ = ["Choice", "Keyed", "Part", "Selection", "chosen", "chosen_part"]

logger = logging.getLogger(__name__)

Keyed = tuple[bytes, Item]
"""An item with the key that it is settled under."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line chose.

    Attributes:
        limit: the first so many items.
        sample: a stable random choice of so many.
        shard: this one, counted from 1, of so many.
        retry_failed: whether items that failed for good are taken up again.
        only: of them, those of this error type.
    """

    limit: int | None = None
    sample: int | None = None
    shard: tuple[int, int] | None = None
    retry_failed: bool = False
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the manifest that a run is about; `threshold` is the largest sample rank that belongs to it."""

    limit: int | None = None
    threshold: int | None = None
    shard: tuple[int, int] | None = None

    def holds(self, item: Item) -> bool:
        """Whether an item belongs to it, `limit` aside."""
        if self.shard is not None and not in_shard(item.item_id, *self.shard):
            return False
        return self.threshold is None or sample_rank(item.item_id) <= self.threshold


def chosen_part(settings: ManifestSettings, choice: Choice) -> Part:
    """The part that a choice means; a sample is drawn by reading the manifest once.

    Raises:
        ConfigError: a sample of standard input, which cannot be read twice.
    """
    if choice.sample is None:
        return Part(choice.limit, None, choice.shard)
    if settings.path == "-":
        raise ConfigError("--sample: reads the manifest twice, so it cannot be standard input")
    shard = Part(shard=choice.shard)
    with open_manifest(settings) as manifest:
        ranks = (sample_rank(item.item_id) for batch in manifest.batches() for item in batch if shard.holds(item))
        return Part(choice.limit, _nth_smallest(ranks, choice.sample), choice.shard)


def chosen(manifest: Manifest, seen: SeenItems, part: Part) -> Iterator[list[Keyed]]:
    """The manifest's items once each, cut to the part, with their keys."""
    left = part.limit
    for rows in manifest.batches():
        items = [(item_key(item.item_id), item) for item in rows if part.holds(item)]
        batch = [_keyed(key, item) for key, item in seen.passing(items)]
        if left is not None:
            batch = batch[:left]
            left -= len(batch)
        yield batch
        if left == 0:
            return


class Selection:
    """Walks the manifest once and yields what is to be done."""

    def __init__(self, journal: Journal, fingerprint: str, choice: Choice, totals: Totals) -> None:
        self._journal = journal
        self._fingerprint = fingerprint
        self._choice = choice
        self._totals = totals

    def batches(self, manifest: Manifest, seen: SeenItems, part: Part) -> Iterator[list[Keyed]]:
        """The items to do, a batch at a time; counts every item of the chosen part.

        Raises:
            ManifestError: the manifest is damaged as a whole.
        """
        for batch in chosen(manifest, seen, part):
            self._totals.total += len(batch)
            yield self._open(batch)
        self._totals.complete = True
        if seen.duplicates:
            places = ", ".join(seen.places)
            logger.warning("%d rows stand twice in the manifest and count once: %s", seen.duplicates, places)

    def _open(self, batch: list[Keyed]) -> list[Keyed]:
        standings = self._journal.standings([key for key, _ in batch], self._fingerprint)
        wanted = []
        for key, item in batch:
            standing = standings.get(key)
            if standing is None or self._again(standing):
                wanted.append((key, item))
                continue
            self._totals.skipped += 1
            self._totals.unmended += standing.state is not SettledAs.SUCCEEDED
        return wanted

    def _again(self, standing: Standing) -> bool:
        if standing.state is SettledAs.SUCCEEDED:
            return False
        if standing.state is SettledAs.FAILED_RETRYABLE:
            return True
        return self._choice.retry_failed and self._choice.only in (None, standing.error_type)


def _nth_smallest(ranks: Iterable[int], size: int) -> int | None:
    """The `size`-th smallest distinct rank, `None` where there are fewer; memory is that of the sample."""
    kept: set[int] = set()
    largest_first: list[int] = []
    for rank in ranks:
        if rank in kept or (len(kept) == size and rank > -largest_first[0]):
            continue
        kept.add(rank)
        heapq.heappush(largest_first, -rank)
        if len(kept) > size:
            kept.remove(-heapq.heappop(largest_first))
    return -largest_first[0] if len(kept) == size else None


def _keyed(key: bytes, item: Item) -> Keyed:
    if item.problem is not None and item.problem.error_type == ErrorType.DUPLICATE_ID:
        return duplicate_key(item.item_id, [source_name(ref) for ref in item.images]), item
    return key, item
