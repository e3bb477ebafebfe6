"""What the journal keeps of batches, as values (see `batches`)."""

from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["BatchItem", "BatchRecord", "Packed", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a batch is for.

    Attributes:
        place: the base URL that it is sent to.
        fingerprint: of its items.
        model: that answers them, as the configuration names it; an answer may name it otherwise.
    """

    place: str
    fingerprint: str
    model: str


@dataclass(frozen=True, slots=True)
class Packed:
    """What is kept of an item until it is settled.

    Attributes:
        skeleton: what it needs to be settled, as JSON text.
        extras_schema: the serialized Arrow schema of `extras`, `None` where there are none.
        extras: the manifest's other columns as one serialized record batch.
    """

    skeleton: str = field(repr=False)
    extras_schema: bytes | None = field(default=None, repr=False)
    extras: bytes | None = field(default=None, repr=False)
    thumbnail: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item that is, or was, in a batch.

    Attributes:
        key: of the item.
        batch: the batch's number in the journal; `None` where the item waits for the next one.
        turn: that is asked, counted from 1.
        attempt: of the turn, counted from 1.
        worst_usd: the most that its answer can cost.
        reuse: the key by which identical requests find it.
        done: whether it was settled in this run.
        alone: whether it is asked by itself next, through `messages`.
    """

    key: bytes
    fingerprint: str
    batch: int | None
    item_id: str
    turn: int
    attempt: int
    custom_id: str
    worst_usd: float
    reuse: bytes | None
    packed: Packed = field(repr=False)
    done: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as the journal knows it.

    Attributes:
        target: what it is for.
        batch_id: the service's, `None` where its creation is not known to have come to its end.
        intended_at: when it was about to be created, `None` while it is being built.
        size: how many items were put into it; other shards may have some of them.
        items: how many of its items have no result yet.
        worst_usd: the most that these can cost.
        released: whether it was canceled so that its items are asked through `messages` in time.
    """

    number: int
    target: Target
    batch_id: str | None
    intended_at: datetime | None
    size: int
    items: int
    worst_usd: float
    released: bool = False
