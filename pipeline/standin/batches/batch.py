"""One batch: its times, its state, and what the API tells of it.

Its requests are finished one after another, evenly over the time that the batch takes and in an order drawn by its
seed. What is not finished when it expires or is canceled has that as its result. While it is held none is finished.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from pipeline.standin.batches.spool import Spool

__all__ = ["COUNTS", "LIFE_S", "RETENTION_S", "AskedWith", "Batch", "Reading"]

LIFE_S = 86_400.0
"""A batch expires so long after its creation."""
RETENTION_S = 29 * 86_400.0
"""Its results are kept so long after its creation."""
COUNTS = ("succeeded", "errored", "canceled", "expired")
"""What a request can come to."""


@dataclass(frozen=True, slots=True)
class AskedWith:
    """What the headers of a creation said: the API's version, a part of the key's hash, whether to look at pictures."""

    version: str
    key_sha256: str
    look: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """The results of a batch as they are read once: the order is another one each time."""

    batch_id: str
    results: Spool
    order: list[int] = field(repr=False)


@dataclass(slots=True)
class Batch:
    """One batch; moments are seconds since the epoch on the batches' clock.

    Attributes:
        number: of all batches of the server, from 1.
        asked_with: what holds for all of its requests.
        first_item: the number of its first request among all of the server, from 1.
        takes_s: from its creation to the end of its last request.
        cancel_takes_s: from the cancellation to the end.
        held: nothing of it is finished.
        results: a line for each request, once it has ended.
        counts: likewise.
    """

    id: str
    number: int
    first_item: int
    seed: int
    asked_with: AskedWith
    created: float
    takes_s: float
    cancel_takes_s: float
    items: Spool = field(repr=False)
    total: int = 0
    held: bool = False
    canceled: float | None = None
    ended: float | None = None
    results: Spool | None = field(default=None, repr=False)
    counts: dict[str, int] = field(default_factory=dict)
    reads: int = 0

    @property
    def expires(self) -> float:
        """When it ends at the latest."""
        return self.created + LIFE_S

    @property
    def due(self) -> float:
        """When it ends; for one that is held, at the latest."""
        ends = [self.expires]
        if not self.held:
            ends.append(self.created + self.takes_s)
        if self.canceled is not None:
            ends.append(self.canceled + self.cancel_takes_s)
        return min(ends)

    def finished(self) -> int:
        """How many requests, in its own order, are finished by the time that it ends."""
        until = min(self.expires, math.inf if self.canceled is None else self.canceled) - self.created
        if until >= self.takes_s and not self.held:
            return self.total
        return 0 if self.held else int(self.total * until / self.takes_s)

    def order(self, reading: int = 0) -> list[int]:
        """The order of its requests, or of its results: another one each time that they are read."""
        numbers = list(range(self.total))
        Random(f"{self.seed}:{self.number}:{reading}").shuffle(numbers)  # noqa: S311 - a test's order, not a secret
        return numbers

    def archived(self, now: float) -> bool:
        """Whether its results are gone."""
        return self.ended is not None and now >= self.created + RETENTION_S

    def close(self) -> None:
        """Gives up what it keeps on disk."""
        self.items.close()
        if self.results is not None:
            self.results.close()

    def told(self, now: float, base_url: str) -> dict[str, Any]:
        """What the API says of it: every request counts as `processing` until the whole batch has ended."""
        is_open, archived = self.ended is None, self.archived(now)
        status = "ended" if not is_open else "in_progress" if self.canceled is None else "canceling"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": self.total if is_open else 0,
                **{name: self.counts.get(name, 0) for name in COUNTS},
            },
            "created_at": _stamp(self.created),
            "expires_at": _stamp(self.expires),
            "ended_at": _stamp(self.ended),
            "cancel_initiated_at": _stamp(self.canceled),
            "archived_at": _stamp(self.created + RETENTION_S) if archived else None,
            "results_url": None if is_open or archived else f"{base_url}/v1/messages/batches/{self.id}/results",
        }


def _stamp(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
