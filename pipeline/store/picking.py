"""Some rows of a dataset out of many: a stable random choice, and whole rows by their places.

The choice goes by a hash of the ids, as `pipeline run --sample` does it: the same dataset gives the same rows, and a
dataset that grows keeps most of them. Only hashes are held while the rows are counted, and a row group while they are
read.
"""

import heapq
import logging
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts, opened_part
from pipeline.store.schema import Kind
from pipeline.store.tables import checked_batch, read_part

__all__ = ["RowPlace", "rows_at", "stable_sample"]

logger = logging.getLogger(__name__)


class RowPlace(NamedTuple):
    """Where a row stands.

    Attributes:
        part: its file.
        row: its number in it, from 0.
    """

    part: Place
    row: int


def stable_sample(output: Place, kind: Kind, fingerprint: str, most: int) -> list[RowPlace]:
    """The places of at most `most` rows of a fingerprint, in the order of the hashes of their ids."""

    def ranked() -> Iterator[tuple[bytes, RowPlace]]:
        for path in list_parts(output, kind):
            start = 0
            for batch in read_part(path, kind, ["item_id", "fingerprint"]):
                pairs = zip(batch["item_id"].to_pylist(), batch["fingerprint"].to_pylist(), strict=True)
                for row, (item_id, mark) in enumerate(pairs, start):
                    if mark == fingerprint:
                        yield blake2b((item_id or "").encode(), digest_size=8).digest(), RowPlace(path, row)
                start += len(batch)

    return [place for _, place in heapq.nsmallest(most, ranked())]


def rows_at(places: Sequence[RowPlace], kind: Kind) -> list[dict[str, Any] | None]:
    """The rows at these places, in this order; `None` for one that cannot be read any more."""
    found: dict[RowPlace, dict[str, Any]] = {}
    for path in dict.fromkeys(place.part for place in places):
        wanted = sorted({place.row for place in places if place.part == path})
        try:
            found |= {RowPlace(path, row): values for row, values in _rows_of(path, kind, wanted)}
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            logger.warning("%s: left out, it cannot be read: %s", path, f"{error}".partition("\n")[0])
    return [found.get(place) for place in places]


def _rows_of(path: Place, kind: Kind, wanted: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by their numbers, in order; row groups with none of them are passed over."""
    with opened_part(path) as part:
        start = 0
        for group in range(part.num_row_groups):
            end = start + part.metadata.row_group(group).num_rows
            inside = [row for row in wanted if start <= row < end]
            if inside:
                taken = part.read_row_group(group).take(pa.array([row - start for row in inside], pa.int64()))
                for batch in taken.combine_chunks().to_batches():
                    yield from zip(inside, checked_batch(batch, kind).to_pylist(), strict=True)
            start = end
