"""What a run has done so far: typed counters that views read and the summary ends with."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pipeline.api.client import Recorder
from pipeline.records import Attempt, Mode, Outcome, Usage

__all__ = ["CountingRecorder", "Totals", "Watcher"]


class Watcher(Protocol):
    """Is told of what is counted, as it happens, on the event loop; must not raise and takes no time worth naming."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """A request's end was written down."""

    def item_settled(self, outcome: Outcome) -> None:
        """An item's end was."""


@dataclass(slots=True)
class Totals:
    """Counters of one run; each item is in exactly one of succeeded, reused, failed, skipped or still pending.

    Attributes:
        total: items of the manifest that were seen so far.
        unmended: skipped items that failed in earlier runs and have not succeeded since.
        complete: whether the whole manifest has been read.
        sent: HTTP requests that were sent.
        answered: of them, those with an answer that could be read.
        retried: of them, those that were not the first of their turn.
        images: images of the items that were answered.
        batches: batches that are in flight.
        batched: items in them.
        watchers: told of each attempt and outcome.
    """

    total: int = 0
    succeeded: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    unmended: int = 0
    complete: bool = False
    sent: int = 0
    answered: int = 0
    retried: int = 0
    rate_limited: int = 0
    images: int = 0
    batches: int = 0
    batched: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    failures_by_type: Counter[str] = field(default_factory=Counter)
    watchers: list[Watcher] = field(default_factory=list, repr=False, compare=False)

    @property
    def pending(self) -> int:
        """Items that are neither settled now nor were before."""
        return self.total - self.succeeded - self.reused - self.failed - self.skipped

    def count_attempt(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        self.sent += 1
        self.retried += attempt.attempt > 1
        self.rate_limited += attempt.http_status == 429
        self.answered += attempt.answer is not None and attempt.error_type is None
        if attempt.usage is not None:
            self.usage += attempt.usage
        self.cost_usd += attempt.cost_usd or 0.0
        for watcher in self.watchers:
            watcher.attempt_ended(attempt)

    def count_outcome(self, outcome: Outcome) -> None:
        """An item is settled."""
        if outcome.error is not None:
            self.failed += 1
            self.failures_by_type[outcome.error.error_type] += 1
        elif outcome.mode is Mode.REUSED:
            self.reused += 1
        else:
            self.succeeded += 1
            self.images += len(outcome.images)
        for watcher in self.watchers:
            watcher.item_settled(outcome)


class CountingRecorder:
    """Writes attempts down and counts them, in this order: what is counted is durable."""

    def __init__(self, recorder: Recorder, totals: Totals) -> None:
        self._recorder = recorder
        self._totals = totals

    def depart(self, item_id: str, turn: int, attempt: int, started_at: datetime) -> int:
        """A request is about to be sent."""
        return self._recorder.depart(item_id, turn, attempt, started_at)

    async def arrive(self, flight: int, attempt: Attempt) -> None:
        """Its end."""
        await self._recorder.arrive(flight, attempt)
        self._totals.count_attempt(attempt)

    async def keep_unreadable(self, name: str, raw: bytes) -> None:
        """Keeps an answer that cannot be read."""
        await self._recorder.keep_unreadable(name, raw)
