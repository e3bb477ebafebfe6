"""The one place that knows all workers of a run: who works on which shard, their leases, counters and log lines.

It is an actor where the cluster is Ray's, and a plain object here. Each worker joins with its shard, and then tells how
it stands every half second (`Beat`); the answer is its next lease, and whether the run is to end (`Answer`). The driver
asks for all of it together (`Look`). The configuration and its keys are entrusted to the office once it runs, by a
call, and handed to workers that join: they are in no description of a task, and their representation is masked.

An office that dies is begun anew by the cluster, and is entrusted with the order again. What it knew of rates it learns
from the workers (see `limits/lessor`). What it knew of money is not to be had again for certain: a run with a budget
ends.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.engines.control import Stop
from pipeline.engines.ray.gathering import LogLine, summed
from pipeline.engines.selection import Choice
from pipeline.engines.totals import Totals
from pipeline.limits.leasing import Lease, Report
from pipeline.limits.lessor import Lessor
from pipeline.limits.pacer import PaceStatistics
from pipeline.settings import Config
from pipeline.store.shards import Shard

__all__ = ["MOST_FUTILE", "Answer", "Beat", "Joined", "Look", "Office", "Order"]

MOST_FUTILE = 5
"""Workers in a row that died on a shard without settling anything; then it is no accident."""
_MOST_LINES = 5_000


@dataclass(frozen=True, slots=True)
class Order:
    """What workers need to know of a run.

    Attributes:
        keys: the values of the variables that hold keys.
        folder: the working directory, from which relative paths start.
        cores: on which a worker decodes images.
        version: of this package, at the driver.
    """

    run_id: str
    config: Config = field(repr=False)
    keys: dict[str, str] = field(repr=False)
    choice: Choice
    accept_new_fingerprint: bool
    folder: str
    cores: int
    version: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What a worker is told when it joins.

    Attributes:
        run_id: under which its rows stand.
        earlier: run ids of those that worked on the shard before it in this run, and died.
    """

    order: Order
    run_id: str
    earlier: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """How a worker stands."""

    run_id: str
    report: Report
    totals: Totals
    pace: PaceStatistics
    lines: list[LogLine]


@dataclass(frozen=True, slots=True)
class Answer:
    """Its next lease, and why the run ends, if it does; `at_once`: without awaiting what is in flight."""

    lease: Lease
    stop: Stop | None
    at_once: bool


@dataclass(frozen=True, slots=True)
class Look:
    """All workers together, as the driver sees them.

    Attributes:
        is_ready: whether the office has its order; a new one after a crash has none.
        attempts: run ids of the workers of each shard, in order.
        lines: log lines with the shard of each, handed out once.
    """

    is_ready: bool
    totals: Totals
    paces: list[PaceStatistics]
    attempts: dict[int, tuple[str, ...]]
    lines: list[tuple[str, LogLine]]


@dataclass(slots=True)
class _Desk:
    """One shard: its workers so far, and what the last one told."""

    attempts: list[str] = field(default_factory=list)
    before: list[Totals] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    pace: PaceStatistics | None = None
    futile: int = 0
    done: bool = False


class Office:
    """One run's workers; `shards` of them at most."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._order: Order | None = None
        self._lessor: Lessor | None = None
        self._desks: dict[int, _Desk] = {}
        self._lines: list[tuple[str, LogLine]] = []
        self._stop: Stop | None = None
        self._at_once = False

    def entrust(self, order: Order, attempts: dict[int, tuple[str, ...]]) -> None:
        """The run's order; `attempts` where this office takes the place of one that died."""
        if self._order is not None:
            return
        self._order = order
        api, now = order.config.api, time.monotonic()
        # Numbers of leases go by the clock, so that those of a dead office are never taken for this one's.
        since = now if attempts else None
        self._lessor = Lessor(order.config.limits, len(api.endpoints or (1,)), since=since, first=time.time_ns())
        for shard, runs in attempts.items():
            self._desk(shard).attempts = list(runs)
        if attempts and order.config.limits.budget_usd is not None:
            self._stop = Stop(4, "the process that divided limits.budget_usd died; run again to go on")

    def order(self) -> Order | None:
        """The order, `None` while there is none."""
        return self._order

    def join(self, shard: int) -> Joined | None:
        """A worker takes up a shard; `None` where the run ends, or the shard has killed too many workers.

        Raises:
            LookupError: there is no order yet.
        """
        if self._order is None:
            raise LookupError
        if self._stop is not None:
            return None
        desk = self._desk(shard)
        desk.futile += 1
        if desk.futile > MOST_FUTILE:
            text = f"shard {shard}: {MOST_FUTILE} workers in a row died on it without settling anything"
            self.stop(Stop(1, text), at_once=False)
            return None
        if desk.attempts:
            desk.before.append(replace(desk.totals, total=0, skipped=0, unmended=0, complete=True))
        earlier = tuple(desk.attempts)
        desk.attempts.append(f"{self._order.run_id}-s{shard:05d}a{len(earlier) + 1}")
        desk.totals = Totals()
        return Joined(self._order, desk.attempts[-1], earlier)

    def beat(self, shard: int, beat: Beat) -> Answer | None:
        """A worker tells how it stands; `None` where there is no order yet."""
        if self._lessor is None:
            return None
        desk = self._desk(shard)
        self._lines += [(f"shard {Shard(shard, self._shards)}", line) for line in beat.lines]
        del self._lines[:-_MOST_LINES]
        if beat.run_id not in desk.attempts:
            desk.attempts.append(beat.run_id)  # it joined when another office was here
        if beat.run_id == desk.attempts[-1]:
            self._note(desk, beat)
        return Answer(self._lessor.report(beat.run_id, beat.report, time.monotonic()), self._stop, self._at_once)

    def _note(self, desk: _Desk, beat: Beat) -> None:
        if beat.totals.total - beat.totals.pending > desk.totals.total - desk.totals.pending:
            desk.futile = 0
        desk.totals, desk.pace = beat.totals, beat.pace

    def lost(self, run_id: str, spent_usd: float, open_requests: int) -> None:
        """An earlier worker of a shard is dead, and its records say what it spent."""
        if self._lessor is not None:
            self._lessor.lost(run_id, spent_usd, open_requests)

    def leave(self, shard: int, run_id: str, spent_usd: float, lines: list[LogLine]) -> None:
        """A worker has come to its end."""
        self._lines += [(f"shard {Shard(shard, self._shards)}", line) for line in lines]
        desk = self._desk(shard)
        desk.pace, desk.futile = None, 0
        if self._lessor is not None:
            self._lessor.leave(run_id, spent_usd)

    def settled(self, shard: int, totals: Totals) -> None:
        """What a shard came to, its killed workers included."""
        desk = self._desk(shard)
        desk.before, desk.totals, desk.done = [], totals, True

    def stop(self, stop: Stop, *, at_once: bool) -> None:
        """The run ends: workers hear it with their next beat, and no other takes up a shard."""
        self._stop, self._at_once = stop, at_once

    def stopped(self) -> Stop | None:
        """Why the run ends, if it does."""
        return self._stop

    def look(self) -> Look:
        """All workers together; log lines are handed out once."""
        lines, self._lines = self._lines, []
        parts = [part for desk in self._desks.values() for part in (*desk.before, desk.totals)]
        totals = summed(parts)
        totals.complete = totals.complete and len(self._desks) == self._shards
        return Look(
            self._order is not None,
            totals,
            [desk.pace for desk in self._desks.values() if desk.pace is not None],
            {shard: tuple(desk.attempts) for shard, desk in self._desks.items()},
            lines,
        )

    def facts(self) -> dict[str, Any]:
        """What the tests and the curious ask of the leases: tenants, and money that is committed."""
        if self._lessor is None:
            return {}
        return {"tenants": self._lessor.tenants, "committed_usd": self._lessor.purse.committed_usd}

    def _desk(self, shard: int) -> _Desk:
        return self._desks.setdefault(shard, _Desk())
