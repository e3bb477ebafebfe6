"""Which items of the manifest this run takes up: duplicates, `--limit`, `--sample`, `--shard`, and what is settled.

Runs in a worker thread, batch by batch, with its own read connection to the journal. Of a row that is settled no item
is made: a batch is decided by ids and digests, in one question to the list of ids that have passed and one to the
journal.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError
from pipeline.images.sources import source_name
from pipeline.manifest.glance import LazyItems, glanced
from pipeline.manifest.identity import in_shard, sample_rank
from pipeline.manifest.producer import Manifest, ManifestSettings, open_manifest
from pipeline.manifest.seen import SeenItems, other_images
from pipeline.records import Item
from pipeline.store.batches import held_keys
from pipeline.store.journal import Journal, SettledAs, Standing, item_key
from pipeline.store.recovery import duplicate_key

__all__ = ["Choice", "Keyed", "Part", "Rows", "Selection", "chosen", "chosen_part", "chosen_rows"]

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
        detect: whether answered items are yielded too, to be held against their images.
        whole: what all shards of a run are about together; `shard` is of that, its limit included.
    """

    limit: int | None = None
    sample: int | None = None
    shard: tuple[int, int] | None = None
    retry_failed: bool = False
    only: str | None = None
    detect: bool = False
    whole: "Part | None" = None


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the manifest that a run is about; `threshold` is the largest sample rank that belongs to it.

    Attributes:
        cut: the shard of what is left after the limit; where `shard` is given instead, the limit counts its items.
    """

    limit: int | None = None
    threshold: int | None = None
    shard: tuple[int, int] | None = None
    cut: tuple[int, int] | None = None

    @property
    def is_all(self) -> bool:
        """Whether every item belongs to it, `limit` aside."""
        return self.shard is None and self.threshold is None

    def holds(self, item_id: str) -> bool:
        """Whether an item belongs to it, `limit` aside."""
        if self.shard is not None and not in_shard(item_id, *self.shard):
            return False
        return self.threshold is None or sample_rank(item_id) <= self.threshold


def chosen_part(settings: ManifestSettings, choice: Choice) -> Part:
    """The part that a choice means; a sample is drawn by reading the manifest once.

    Raises:
        ConfigError: a sample of standard input, which cannot be read twice.
    """
    if choice.whole is not None:
        whole = choice.whole
        return replace(whole, shard=choice.shard) if whole.limit is None else replace(whole, cut=choice.shard)
    if choice.sample is None:
        return Part(choice.limit, None, choice.shard)
    if settings.path == "-":
        raise ConfigError("--sample: reads the manifest twice, so it cannot be standard input")
    shard = Part(shard=choice.shard)
    with open_manifest(settings) as manifest:
        ids = (item_id for batch in manifest.batches() for item_id in glanced(batch).ids())
        ranks = (sample_rank(item_id) for item_id in ids if shard.holds(item_id))
        return Part(choice.limit, _nth_smallest(ranks, choice.sample), choice.shard)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the manifest that belong to the run, without their items.

    Attributes:
        batch: in which they stand.
        at: their numbers in it.
        keys: under which they are settled.
        twins: of the numbers, those whose id stands for other images already, with the place where.
    """

    batch: LazyItems
    at: list[int]
    keys: list[bytes]
    twins: dict[int, str]

    def keyed(self, number: int) -> Keyed:
        """One of them as an item."""
        at = self.at[number]
        item = self.batch[at]
        return self.keys[number], other_images(item, self.twins[at]) if at in self.twins else item


def chosen(manifest: Manifest, seen: SeenItems, part: Part) -> Iterator[list[Keyed]]:
    """The manifest's items once each, cut to the part, with their keys."""
    for rows in chosen_rows(manifest, seen, part):
        yield [rows.keyed(number) for number in range(len(rows.at))]


def chosen_rows(manifest: Manifest, seen: SeenItems, part: Part) -> Iterator[Rows]:
    """The same, without making items."""
    left = part.limit
    for items in manifest.batches():
        rows = _passed(glanced(items), seen, part)
        if left is not None:
            rows = Rows(rows.batch, rows.at[:left], rows.keys[:left], rows.twins)
            left -= len(rows.at)
        yield rows if part.cut is None else _cut(rows, part.cut)
        if left == 0:
            return


def _cut(rows: Rows, shard: tuple[int, int]) -> Rows:
    ids = rows.batch.ids()
    kept = [number for number, at in enumerate(rows.at) if in_shard(ids[at], *shard)]
    return Rows(rows.batch, [rows.at[number] for number in kept], [rows.keys[number] for number in kept], rows.twins)


def _passed(batch: LazyItems, seen: SeenItems, part: Part) -> Rows:
    ids, digests = batch.ids(), batch.digests()
    wanted = range(len(ids)) if part.is_all else [at for at, item_id in enumerate(ids) if part.holds(item_id)]
    keys = [item_key(ids[at]) for at in wanted]
    rows = ([digests[at] for at in wanted], [batch.place(at) for at in wanted], [ids[at] for at in wanted])
    passed = seen.passing_rows(keys, *rows)
    at = [wanted[number] for number, _ in passed]
    twins = {wanted[number]: first for number, first in passed if first is not None}
    settled_under = [keys[number] if first is None else _twin_key(batch[wanted[number]]) for number, first in passed]
    return Rows(batch, at, settled_under, twins)


class Selection:
    """Walks the manifest once and yields what is to be done.

    What batches hold is looked up before what is settled: an item that is settled in between is then found as settled.
    """

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
        for rows in chosen_rows(manifest, seen, part):
            self._totals.total += len(rows.at)
            yield self._open(rows)
        self._totals.complete = True
        if seen.duplicates:
            places = ", ".join(seen.places)
            logger.warning("%d rows stand twice in the manifest and count once: %s", seen.duplicates, places)

    def _open(self, rows: Rows) -> list[Keyed]:
        held = held_keys(self._journal, rows.keys, self._fingerprint)
        if (
            not self._choice.detect
            and not held
            and self._journal.successes(rows.keys, self._fingerprint) == len(rows.keys)
        ):
            self._totals.skipped += len(rows.keys)
            return []
        standings = self._journal.standings(rows.keys, self._fingerprint)
        wanted = []
        for number, key in enumerate(rows.keys):
            standing, waits = standings.get(key), held.get(key)
            if waits is False:
                continue  # it is in a batch, or was settled in this run
            if waits or standing is None or self._again(standing):
                wanted.append(rows.keyed(number))
                continue
            self._totals.skipped += 1
            self._totals.unmended += standing.state is not SettledAs.SUCCEEDED
        return wanted

    def _again(self, standing: Standing) -> bool:
        if standing.state is SettledAs.SUCCEEDED:
            return self._choice.detect
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


def _twin_key(item: Item) -> bytes:
    return duplicate_key(item.item_id, [source_name(ref) for ref in item.images])
