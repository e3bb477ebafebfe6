"""What the workers of one run have done, brought together: counters, the pace, log lines. Pure.

A worker that was killed told its counters a moment before; what it left is counted from the dataset by the worker that
takes its shard up again (`with_earlier`), since what that one finds settled was settled in this run.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.engines.totals import Totals
from pipeline.limits.pacer import PaceStatistics
from pipeline.records import Usage
from pipeline.store.tallying import RunTally

__all__ = ["GatheredPace", "LogBuffer", "LogLine", "summed", "with_earlier"]

_COUNTS = (
    "total",
    "succeeded",
    "reused",
    "failed",
    "skipped",
    "unmended",
    "sent",
    "answered",
    "retried",
    "rate_limited",
    "images",
    "batches",
    "batched",
)
_FIELDS = ("item_id", "request_id", "error_type", "numbers")
_MOST_LINES = 500


def summed(parts: Iterable[Totals], into: Totals | None = None) -> Totals:
    """Counters added up; `into` takes the sums in the place of what it held, and keeps its watchers."""
    found, usage, cost, failures, complete = dict.fromkeys(_COUNTS, 0), Usage(), 0.0, Counter[str](), True
    for part in parts:
        for name in _COUNTS:
            found[name] += getattr(part, name)
        usage, cost = usage + part.usage, cost + part.cost_usd
        failures.update(part.failures_by_type)
        complete &= part.complete
    target = into if into is not None else Totals()
    for name, value in found.items():
        setattr(target, name, value)
    target.usage, target.cost_usd, target.failures_by_type, target.complete = usage, cost, failures, complete
    return target


def with_earlier(last: Totals, earlier: Sequence[RunTally], *, again: bool) -> Totals:
    """A shard's counters with those of its killed workers: what these settled counts as done now, not as skipped.

    Args:
        last: of the worker that came to its end.
        earlier: what the killed ones left.
        again: whether failures are taken up anew (`--retry-failed`), so that each has its outcome in `last`.
    """
    found = summed([last])
    for one in earlier:
        failed = Counter[str]() if again else one.failed
        found.succeeded += one.succeeded
        found.reused += one.reused
        found.failed += failed.total()
        found.unmended -= failed.total()
        found.skipped -= one.succeeded + one.reused + failed.total()
        found.failures_by_type.update(failed)
        found.images += one.images
        found.sent += one.sent
        found.answered += one.answered
        found.retried += one.retried
        found.rate_limited += one.rate_limited
        found.usage += one.usage
        found.cost_usd += one.cost_usd
    return found


class GatheredPace:
    """How all workers are paced, as a view may ask."""

    def __init__(self) -> None:
        self.parts: list[PaceStatistics] = []

    def statistics(self) -> PaceStatistics:
        """Requests and places in sum; of the limits the one that binds most workers."""
        bound = Counter(one.binding for one in self.parts if one.binding)
        binding = bound.most_common(1)[0][0] if bound else ""
        fills = [one.fill for one in self.parts if one.binding == binding]
        return PaceStatistics(
            sum(one.in_flight for one in self.parts),
            sum(one.places for one in self.parts),
            binding,
            sum(fills) / len(fills) if fills else 0.0,
            max((one.paused_s for one in self.parts), default=0.0),
            bool(self.parts) and all(one.outage for one in self.parts),
        )


@dataclass(frozen=True, slots=True)
class LogLine:
    """A record of a worker's log, on its way to the driver."""

    logger: str
    level: int
    text: str
    extra: dict[str, object]

    def repeat(self, where: str) -> None:
        """Logs it here, with the worker's name before it."""
        logger = logging.getLogger(self.logger)
        if logger.isEnabledFor(self.level):
            logger.log(self.level, "%s: %s", where, self.text, extra=self.extra)


class LogBuffer(logging.Handler):
    """Keeps a worker's records until they are fetched: so many at most, the rest is counted."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[LogLine] = []
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one."""
        if len(self._lines) >= _MOST_LINES:
            self._dropped += 1
            return
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += f": {record.exc_info[0].__name__}: {record.exc_info[1]}"
        extra = {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        self._lines.append(LogLine(record.name, record.levelno, text, extra))

    def fetch(self) -> list[LogLine]:
        """What came since the last time."""
        lines, self._lines = self._lines, []
        if self._dropped:
            text = f"{self._dropped} more lines are left out"
            lines.append(LogLine(__name__, logging.WARNING, text, {}))
            self._dropped = 0
        return lines
