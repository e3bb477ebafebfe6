"""The one place that waits for limits: places in flight, the three buckets, pauses, the breaker and the budget.

A sender first takes a *place* (so that what waits holds no image), then for every attempt a fresh *permit*. Both are
given in the order in which they were asked for, and only the head of each queue looks at the state: the others wait for
a lock, so an answer wakes two tasks and not hundreds, and a large request is never overtaken for ever by small ones.
Decisions are those of the pure modules beside this one, with time as an argument. Waits run on the event loop's time;
the clock that decisions go by is an argument, so that a test on a loop that jumps gives that loop's time for both.
"""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from pipeline.limits.breaker import Breaker
from pipeline.limits.budget import Budget
from pipeline.limits.headers import parse_limit_headers
from pipeline.limits.meters import Amounts, Meters, Need
from pipeline.limits.permits import End, Permit, Tells
from pipeline.limits.places import Places
from pipeline.settings import SettingsLimits

__all__ = ["MOST_PLACES", "BudgetReachedError", "Need", "PaceStatistics", "Pacer", "PacerClosedError", "Permit"]

MOST_PLACES = 256


class PacerClosedError(Exception):
    """No more permits are given: the run drains. What waited has not been sent."""


class BudgetReachedError(Exception):
    """`limits.budget_usd` leaves no room, and nothing in flight can make any."""


@dataclass(frozen=True, slots=True)
class PaceStatistics:
    """How the run is paced now.

    Attributes:
        in_flight: requests sent and not answered.
        places: how many may be.
        binding: the limit that last made a request wait: `requests`, `input`, `output`, or empty.
        fill: of the binding limit, 0 (free) to 1 (used up).
        paused_s: seconds that everything still pauses, after a 429.
        outage: whether the breaker is open.
    """

    in_flight: int
    places: int
    binding: str
    fill: float
    paused_s: float
    outage: bool


class Pacer:
    """Paces one run against one endpoint.

    Args:
        limits: the `limits` section.
        clock: seconds, monotonic, at the pace of the event loop's time.
        budget: the run's money, by default that of `limits`.
    """

    def __init__(
        self, limits: SettingsLimits, *, clock: Callable[[], float] = time.monotonic, budget: Budget | None = None
    ) -> None:
        self._clock = clock
        self.budget = budget or Budget(limits.budget_usd)
        self._meters = Meters(limits, clock())
        fixed = limits.concurrency
        self._places = Places.fixed(fixed) if isinstance(fixed, int) else Places.found(MOST_PLACES)
        self._alone = self._meters.learns
        self._taken = 0
        self._in_flight = 0
        self._paused_until = -math.inf
        self._breaker = Breaker()
        self._place_queue = anyio.Lock()
        self._permit_queue = anyio.Lock()
        self._changed = anyio.Event()
        self._closing = anyio.Event()
        self._binding = ""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the requests in flight, held while the block runs.

        Where limits are to be learned there is one place until the first answer has come.

        Raises:
            PacerClosedError: no more requests are sent.
        """
        async with self._place_queue:
            while not self.closed and self._taken >= self._open_places:
                await self._changed.wait()
            if self.closed:
                raise PacerClosedError
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._wake()

    async def permit(self, need: Need) -> Permit:
        """Waits until one attempt may be sent; a fresh one for every attempt.

        Raises:
            PacerClosedError: no more requests are sent.
            BudgetReachedError: the budget has no room for it, and never will in this run.
        """
        async with self._permit_queue:
            amounts = self._meters.amounts(need)
            while (wait := self._wait_s(need, amounts, self._clock())) > 0:
                await _wait_for(self._changed, wait)
            self._meters.take(amounts, self._clock())
            self.budget.reserve(need.worst_usd)
            self._in_flight += 1
            return Permit(self._ended, need, amounts, self._breaker.sent())

    async def sleep(self, seconds: float) -> None:
        """Waits, or until no more permits are given."""
        await _wait_for(self._closing, seconds)

    def close(self) -> None:
        """Gives no more permits, and sends those that wait away."""
        self._closing.set()
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether no more permits are given."""
        return self._closing.is_set()

    def statistics(self) -> PaceStatistics:
        """How the run is paced now."""
        now = self._clock()
        return PaceStatistics(
            self._in_flight,
            self._open_places,
            self._binding,
            self._meters.fill(self._binding, now),
            max(0.0, self._paused_until - now),
            self._breaker.is_open,
        )

    def _ended(self, permit: Permit, end: End) -> None:
        now = self._clock()
        self._in_flight -= 1
        self.budget.settle(permit.need.worst_usd, end.cost_usd)
        self._alone = self._alone and end.headers is None and end.tells is not Tells.NOTHING
        if end.headers is not None and self._meters.learns:
            self._meters.adopt(parse_limit_headers(end.headers), now)
        if end.usage is not None:
            self._meters.correct(permit.need, permit.amounts, end.usage, now)
        self._heed(permit, end, now)
        self._wake()

    def _heed(self, permit: Permit, end: End, now: float) -> None:
        """What an end tells of the service: to the breaker, the places and the pause."""
        if end.tells is Tells.NOTHING:
            self._breaker.gone(permit.probe)
            return
        if end.tells is Tells.FAILING:
            self._breaker.failed(now, permit.probe)
            self._places.strained(self._in_flight)
            return
        self._breaker.answered()
        if end.pause_s is not None:
            self._paused_until = max(self._paused_until, now + end.pause_s)
            self._meters.exhausted(parse_limit_headers(end.headers or {}), self._paused_until)
            self._places.strained(self._in_flight)
        elif end.latency_s is not None:
            self._places.answered(end.latency_s, self._in_flight + 1)

    @property
    def _open_places(self) -> int:
        return 1 if self._alone else self._places.count

    def _wait_s(self, need: Need, amounts: Amounts, now: float) -> float:
        """Seconds until the head of the queue may look again, 0 where it may send."""
        if self.closed:
            raise PacerClosedError
        if not self.budget.may_reserve(need.worst_usd):
            # What is in flight may turn out cheaper than was reserved for it; nothing else makes room.
            if self._in_flight == 0 or not self.budget.could_ever(need.worst_usd):
                raise BudgetReachedError
            return math.inf
        binding, wait = self._meters.wait_s(amounts, now)
        self._binding = binding or self._binding
        return max(wait, self._paused_until - now, self._breaker.wait_s(now))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def _wait_for(event: anyio.Event, seconds: float) -> None:
    """Waits for the event, at most so long; `math.inf` is for ever."""
    with anyio.move_on_after(seconds):
        await event.wait()
