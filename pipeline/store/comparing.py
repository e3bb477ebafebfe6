"""Two sets of answers side by side: which items both have, what each cost, and whole pairs of rows.

A side is one fingerprint of one dataset. Some 300 bytes an item are in memory while it is counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts
from pipeline.store.picking import RowPlace, rows_at
from pipeline.store.read import read_results
from pipeline.store.schema import Kind
from pipeline.store.tables import read_part

__all__ = ["Side", "Sums", "common_items", "equal_captions", "pairs", "side_of", "sums_of"]

_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_COLUMNS = ["item_id", "fingerprint", "caption", *_INPUT, "output_tokens", "cost_usd", "latency_ms"]


class _Answer(NamedTuple):
    place: RowPlace
    caption: bytes
    length: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """What one fingerprint holds: answers by item, and the items that stand as failed, each with its row."""

    output: Place
    fingerprint: str
    answers: dict[str, _Answer] = field(repr=False)
    failures: dict[str, dict[str, Any]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sums:
    """Over some items of one side.

    Attributes:
        characters: of the captions.
        latency_ms: of the answers that have one, on average; 0 where none has.
    """

    captioned: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    characters: int = 0
    latency_ms: float = 0.0


def side_of(output: Place, fingerprint: str) -> Side:
    """What there is under a fingerprint.

    Raises:
        OutputError: `output` is no dataset.
    """
    failures = read_results(output, failures=True, fingerprint=fingerprint).to_pylist()
    return Side(output, fingerprint, dict(_answers(output, fingerprint)), {row["item_id"]: row for row in failures})


def common_items(one: Side, other: Side) -> list[str]:
    """The ids of items that are settled on both sides, in an order by hash: its first few are a stable sample."""
    mine, theirs = ({*side.answers, *side.failures} for side in (one, other))
    return sorted(mine & theirs, key=lambda item_id: (_hash(item_id), item_id))


def sums_of(side: Side, items: Sequence[str]) -> Sums:
    """What these items came to."""
    answers = [side.answers[item_id] for item_id in items if item_id in side.answers]
    latencies = [answer.latency_ms for answer in answers if answer.latency_ms is not None]
    failed = [side.failures[item_id] for item_id in items if item_id not in side.answers]
    return Sums(
        len(answers),
        len(failed),
        sum(answer.input_tokens for answer in answers) + sum(row[name] or 0 for row in failed for name in _INPUT),
        sum(answer.output_tokens for answer in answers) + sum(row["output_tokens"] or 0 for row in failed),
        sum(answer.cost_usd for answer in answers) + sum(row["cost_usd"] or 0.0 for row in failed),
        sum(answer.length for answer in answers),
        sum(latencies) / len(latencies) if latencies else 0.0,
    )


def equal_captions(one: Side, other: Side, items: Sequence[str]) -> int:
    """How many of these items have the same caption on both sides."""
    both = (item_id for item_id in items if item_id in one.answers and item_id in other.answers)
    return sum(one.answers[item_id].caption == other.answers[item_id].caption for item_id in both)


def pairs(one: Side, other: Side, items: Sequence[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The whole rows of these items on both sides; one that cannot be read any more is left out."""
    mine, theirs = (_rows(side, items) for side in (one, other))
    for item_id in items:
        if item_id in mine and item_id in theirs:
            yield mine[item_id], theirs[item_id]


def _answers(output: Place, fingerprint: str) -> Iterator[tuple[str, _Answer]]:
    for path in list_parts(output, Kind.RESULTS):
        start = 0
        for batch in read_part(path, Kind.RESULTS, _COLUMNS):
            mine = pa.Table.from_batches([batch]).append_column("row", pa.array(range(start, start + len(batch))))
            start += len(batch)
            for row in mine.filter(pc.equal(mine["fingerprint"], fingerprint)).to_pylist():
                yield row["item_id"], _answer(path, row)


def _answer(path: Place, row: Mapping[str, Any]) -> _Answer:
    caption = row["caption"] or ""
    return _Answer(
        RowPlace(path, row["row"]),
        _hash(caption),
        len(caption),
        sum(row[name] or 0 for name in _INPUT),
        row["output_tokens"] or 0,
        row["cost_usd"] or 0.0,
        row["latency_ms"],
    )


def _rows(side: Side, items: Sequence[str]) -> dict[str, dict[str, Any]]:
    answered = [item_id for item_id in items if item_id in side.answers]
    found = rows_at([side.answers[item_id].place for item_id in answered], Kind.RESULTS)
    rows = {item_id: side.failures[item_id] for item_id in items if item_id in side.failures}
    return rows | {item_id: row for item_id, row in zip(answered, found, strict=True) if row is not None}


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
