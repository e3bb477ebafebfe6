"""The one place that waits for limits: places in flight, the three buckets, pauses, the breaker and the budget.

A sender first takes a *place* (so that what waits holds no image), then for every attempt a fresh *permit*. Both are
given in the order in which they were asked for, and only the head of each queue looks at the state: the others wait for
a lock, so an answer wakes two tasks and not hundreds, and a large request is never overtaken for ever by small ones.
With several endpoints each has its own state, a `Lane`, and a permit says which one it is for: of those that could take
the request now, the one that is furthest behind its weight. The budget and the quota of retries are the run's.
Decisions are those of the pure modules beside this one, with time as an argument. Waits run on the event loop's time;
the clock that decisions go by is an argument, so that a test on a loop that jumps gives that loop's time for both.

An outage is waited for. While every endpoint's breaker is open, items that were taken up keep their place, and take
turns as probes, so that a probe that fails is one of `retry.max_attempts` of its item and of no other. When that has
lasted too long (10 minutes; 2 where nothing ever came from the service) those that have failed before are given up as
retryable failures, and an item that is first tried then ends the run: what is left stays pending.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from pipeline.limits.budget import Budget
from pipeline.limits.lane import MOST_PLACES, Lane
from pipeline.limits.leasing import Lease, MoneyReport, Report
from pipeline.limits.meters import Need
from pipeline.limits.permits import End, Permit
from pipeline.limits.quota import RetryQuota
from pipeline.settings import SettingsLimits

__all__ = [
    "MOST_PLACES",
    "BudgetReachedError",
    "Need",
    "OutageError",
    "PaceStatistics",
    "Pacer",
    "PacerClosedError",
    "Permit",
]


class PacerClosedError(Exception):
    """No more permits are given: the run drains. What waited has not been sent."""


class BudgetReachedError(Exception):
    """`limits.budget_usd` leaves no room, and nothing in flight can make any."""


class OutageError(Exception):
    """The service has failed for too long: what has been tried before is given up."""


@dataclass(frozen=True, slots=True)
class PaceStatistics:
    """How the run is paced now.

    Attributes:
        in_flight: requests sent and not answered.
        places: how many may be.
        binding: the limit that last made a request wait: `requests`, `input`, `output`, or empty.
        fill: of the binding limit, 0 (free) to 1 (used up).
        paused_s: seconds that everything still pauses, after a 429.
        outage: whether every endpoint's breaker is open.
    """

    in_flight: int
    places: int
    binding: str
    fill: float
    paused_s: float
    outage: bool


class Pacer:
    """Paces one run.

    Args:
        limits: the `limits` section.
        clock: seconds, monotonic, at the pace of the event loop's time.
        budget: the run's money, by default that of `limits`.
        weights: one for each endpoint.
        longest_wait_s: between two probes of an outage, at most.
        leased: whether it paces one of several workers of a run, and sends only what leases allow.
    """

    def __init__(  # noqa: PLR0913 - all but one have a default
        self,
        limits: SettingsLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        budget: Budget | None = None,
        weights: Sequence[float] = (1.0,),
        longest_wait_s: float = math.inf,
        leased: bool = False,
    ) -> None:
        self._clock = clock
        self.budget = budget or Budget(limits.budget_usd)
        if leased and limits.budget_usd is not None:
            self.budget = Budget(0.0, grows=True)
        self._lanes = [Lane(limits, weight, clock(), longest_wait_s, leased=leased) for weight in weights]
        self._passed = 0.0
        self._quota = RetryQuota(at=clock())
        self._taken = 0
        # A lock that is free is taken at once; who waits for one that is not is served in order all the same.
        self._place_queue = anyio.Lock(fast_acquire=True)
        self._permit_queue = anyio.Lock(fast_acquire=True)
        self._retry_queue = anyio.Lock(fast_acquire=True)
        self._changed: anyio.Event | None = None
        self._closing = anyio.Event()
        self._binding = ("", self._lanes[0])
        self._reason = ""
        self.waits_s: dict[str, float] = {}
        """Seconds that the head of the queue waited, by what for: a limit, `concurrency`, `budget`, or a `pause`."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the requests in flight, held while the block runs.

        Where limits are to be learned there is one place until the first answer has come.

        Raises:
            PacerClosedError: no more requests are sent.
        """
        async with self._place_queue:
            while not self.closed and self._taken >= self._open_places:
                before = self._clock()
                await self._next_change().wait()
                self._waited("concurrency", before)
            if self.closed:
                raise PacerClosedError
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._wake()

    async def permit(self, need: Need, *, asker: int = 0, tried: int = 0) -> Permit:
        """Waits until one attempt may be sent; a fresh one for every attempt.

        Args:
            need: what it takes.
            asker: whose it is, to tell one request that always fails from a service that does.
            tried: attempts that it has behind it.

        Raises:
            PacerClosedError: no more requests are sent.
            BudgetReachedError: the budget has no room for it, and never will in this run.
            OutageError: it has failed before, and the service fails for too long.
        """
        async with self._permit_queue:
            while True:
                lane, wait = self._choice(need, tried, self._clock())
                if lane is not None:
                    break
                before = self._clock()
                await _wait_for(self._next_change(), wait)
                self._waited(self._reason, before)
            now = self._clock()
            amounts, probe = lane.begin(need, now)
            self._passed = max(self._passed, lane.passed)
            lane.passed = self._passed + 1 / lane.weight
            self.budget.reserve(need.worst_usd)
            permit = Permit(self._ended, need, amounts, probe)
            permit.lane, permit.asker, permit.tried, permit.sent_at = self._lanes.index(lane), asker, tried, now
            return permit

    async def sleep(self, seconds: float) -> None:
        """Waits, or until no more permits are given."""
        await _wait_for(self._closing, seconds)

    async def retry(self, seconds: float, *, limited: bool) -> None:
        """Waits before a retry: so long, and then for the run's quota, which a rate limit does not touch."""
        await self.sleep(seconds)
        if limited:
            return
        async with self._retry_queue:
            while not self.closed and (wait := self._quota.wait_s(self._clock())) > 0:
                await _wait_for(self._next_change(), wait)
            self._quota.take(self._clock())

    def report(self, ack: int) -> Report:
        """What the lessor of a run's limits is to know of this worker, which goes by the lease of that number."""
        now, budget = self._clock(), self.budget
        money = MoneyReport(budget.spent_usd, budget.reserved_usd, budget.wanted_usd, budget.worst_usd)
        return Report(ack, tuple(lane.report(now) for lane in self._lanes), money)

    def adopt(self, lease: Lease, until: float) -> None:
        """A lease came, good until that moment on the pacer's clock."""
        for lane, part in zip(self._lanes, lease.lanes, strict=True):
            lane.adopt(part, until, self._clock())
        if lease.ceiling_usd is not None:
            self.budget.limit_usd, self.budget.grows = lease.ceiling_usd, lease.more
        self._wake()

    def close(self) -> None:
        """Gives no more permits, and sends those that wait away."""
        self._closing.set()
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether no more permits are given."""
        return self._closing.is_set()

    @property
    def outlasted(self) -> bool:
        """Whether an outage of every endpoint has lasted too long."""
        now = self._clock()
        return bool(self._living) and all(lane.breaker.is_outlasted(now) for lane in self._living)

    def statistics(self) -> PaceStatistics:
        """How the run is paced now."""
        now, living = self._clock(), self._living
        name, lane = self._binding
        return PaceStatistics(
            sum(lane.in_flight for lane in self._lanes),
            self._open_places,
            name,
            lane.meters.fill(name, now),
            min((lane.paused_s(now) for lane in living), default=0.0),
            bool(living) and all(lane.breaker.is_open for lane in living),
        )

    def _choice(self, need: Need, tried: int, now: float) -> tuple[Lane | None, float]:
        """The endpoint for the head of the queue, or the seconds until it may look again."""
        if self.closed:
            raise PacerClosedError
        if tried and self.outlasted:
            raise OutageError
        if not self.budget.may_reserve(need.worst_usd):
            # What is in flight may turn out cheaper than was reserved for it; nothing else makes room.
            is_stuck = not any(lane.in_flight for lane in self._lanes) or not self.budget.could_ever(need.worst_usd)
            if is_stuck and not self.budget.grows:
                raise BudgetReachedError
            self.budget.wanted_usd = need.worst_usd
            self._reason = "budget"
            return None, math.inf
        waits = [(lane, *lane.wait_s(need, now)) for lane in self._lanes]
        ready = [lane for lane, _, wait in waits if wait == 0]
        if ready:
            return min(ready, key=lambda lane: max(lane.passed, self._passed)), 0.0
        lane, binding, wait = min(waits, key=lambda each: each[2])
        if binding:
            self._binding = (binding, lane)
        self._reason = binding or "pause"
        return None, wait

    def _waited(self, reason: str, since: float) -> None:
        self.waits_s[reason] = self.waits_s.get(reason, 0.0) + self._clock() - since

    def _ended(self, permit: Permit, end: End) -> bool:
        now = self._clock()
        self.budget.settle(permit.need.worst_usd, end.cost_usd)
        if end.latency_s is not None:
            self._quota.answered(retried=permit.tried > 0)
        in_outage = self._lanes[permit.lane].ended(permit, end, now)
        if not self._living:
            self.close()
        self._wake()
        return in_outage

    @property
    def _living(self) -> list[Lane]:
        return [lane for lane in self._lanes if not lane.retired]

    @property
    def _open_places(self) -> int:
        return sum(lane.places for lane in self._lanes)

    def _next_change(self) -> anyio.Event:
        """What `_wake` sets next; made only where somebody waits for it."""
        if self._changed is None:
            self._changed = anyio.Event()
        return self._changed

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


async def _wait_for(event: anyio.Event, seconds: float) -> None:
    """Waits for the event, at most so long; `math.inf` is for ever."""
    with anyio.move_on_after(seconds):
        await event.wait()
