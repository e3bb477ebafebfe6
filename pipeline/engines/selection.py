"""Which items of the manifest this run takes up: duplicates, `--limit`, `--sample`, and what is settled already.

Runs in a worker thread, batch by batch, with its own read connection to the journal.
"""

import heapq
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.engines.totals import Totals
from pipeline.manifest.identity import sample_rank
from pipeline.manifest.producer import Manifest, ManifestSettings, open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.errors import ConfigError, ErrorType
from pipeline.records import Item
from pipeline.store.journal import Journal, SettledAs, Standing, item_key
from pipeline.store.recovery import duplicate_key

__all__ = ["Choice", "Selection", "sample_threshold"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line chose.

    Attributes:
        limit: the first so many items.
        sample: a stable random choice of so many.
        retry_failed: whether items that failed for good are taken up again.
        only: of them, those of this error type.
    """

    limit: int | None = None
    sample: int | None = None
    retry_failed: bool = False
    only: str | None = None


class Selection:
    """Walks the manifest once and yields what is to be done, each item with the key it is settled under."""

    def __init__(self, manifest: Manifest, journal: Journal, fingerprint: str, choice: Choice, totals: Totals) -> None:
        self._manifest = manifest
        self._journal = journal
        self._fingerprint = fingerprint
        self._choice = choice
        self._totals = totals
        self._threshold: int | None = None

    def with_threshold(self, threshold: int | None) -> "Selection":
        """Takes only items whose sample rank is at most this."""
        self._threshold = threshold
        return self

    def batches(self, seen: SeenItems) -> Iterator[list[tuple[bytes, Item]]]:
        """The items to do, a batch at a time; counts every item of the chosen part."""
        for batch in chosen(self._manifest, seen, self._choice.limit, self._threshold):
            self._totals.total += len(batch)
            yield self._open(batch)
        self._totals.complete = True
        if seen.duplicates:
            places = ", ".join(seen.places)
            logger.warning("%d rows stand twice in the manifest and count once: %s", seen.duplicates, places)

    def _open(self, batch: list[tuple[bytes, Item]]) -> list[tuple[bytes, Item]]:
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


def chosen(
    manifest: Manifest, seen: SeenItems, limit: int | None, threshold: int | None
) -> Iterator[list[tuple[bytes, Item]]]:
    """The manifest's items once each, cut to `--limit` and `--sample`, with their keys."""
    left = limit
    for rows in manifest.batches():
        if threshold is not None:
            rows = [item for item in rows if sample_rank(item.item_id) <= threshold]
        batch = [_keyed(key, item) for key, item in seen.passing([(item_key(item.item_id), item) for item in rows])]
        if left is not None:
            batch = batch[:left]
            left -= len(batch)
        yield batch
        if left == 0:
            return


def sample_threshold(settings: ManifestSettings, size: int) -> int | None:
    """The largest rank among the `size` items that a sample takes; `None` where the manifest has fewer.

    Raises:
        ConfigError: the manifest is standard input, which cannot be read twice.
    """
    if settings.path == "-":
        raise ConfigError("--sample: reads the manifest twice, so it cannot be standard input")
    with open_manifest(settings) as manifest:
        ranks = {sample_rank(item.item_id) for batch in manifest.batches() for item in batch}
        smallest = heapq.nsmallest(size, ranks)
    return smallest[-1] if len(smallest) == size else None


def _keyed(key: bytes, item: Item) -> tuple[bytes, Item]:
    if item.problem is not None and item.problem.error_type == ErrorType.DUPLICATE_ID:
        return duplicate_key(item.item_id, [ref.source for ref in item.images]), item
    return key, item
