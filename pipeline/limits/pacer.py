"""The one place that waits for limits: places in flight, the three buckets, pauses, the breaker and the budget.

A sender first takes a *place* (so that what waits holds no image), then for every attempt a fresh *permit*. Permits are
given in the order in which they were asked for: the head of the queue waits until all three buckets hold what it needs,
so a large request is never overtaken for ever by small ones. Decisions are those of the pure modules beside this one.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from pipeline.limits.breaker import Breaker
from pipeline.limits.bucket import Bucket
from pipeline.limits.budget import Budget
from pipeline.limits.headers import LimitHeaders, parse_limit_headers
from pipeline.limits.places import Places
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

__all__ = ["BudgetReachedError", "Need", "PaceStatistics", "Pacer", "PacerClosedError", "Permit"]

BURST_S = 0.5
"""Half a second of the rate: the service may enforce 60 a minute as one a second."""
MOST_PLACES = 256
_TEXT_RATIO_START = 0.3
_OUTPUT_START = 256
_LEARN = 0.1
_NAMES = ("requests", "input", "output")


class PacerClosedError(Exception):
    """No more permits are given: the run drains. What waited has not been sent."""


class BudgetReachedError(Exception):
    """`limits.budget_usd` leaves no room, and nothing in flight can make any."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request takes, as far as it is known before it is sent.

    Attributes:
        image_tokens: by the patch rule.
        text_chars: characters of system, prompt and history.
        max_tokens: the answer's cap.
        worst_usd: the most that it can cost.
    """

    image_tokens: int
    text_chars: int
    max_tokens: int
    worst_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class PaceStatistics:
    """How the run is paced now.

    Attributes:
        in_flight: requests sent and not answered.
        places: how many may be.
        binding: the limit that made the last request wait: `requests`, `input`, `output`, or empty.
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
    """Paces one run against one endpoint."""

    def __init__(
        self, limits: SettingsLimits, *, clock: Callable[[], float] = time.monotonic, budget: Budget | None = None
    ) -> None:
        self._limits = limits
        self._clock = clock
        self.budget = budget or Budget(limits.budget_usd)
        self._buckets: dict[str, Bucket] = {}
        for name in _NAMES:
            value = getattr(limits, f"{name}_per_minute" if name == "requests" else f"{name}_tokens_per_minute")
            if isinstance(value, int | float):
                self._buckets[name] = Bucket.full(value * limits.share, BURST_S, clock())
        self._learn_limits = any(
            value == "auto"
            for value in (
                limits.requests_per_minute,
                limits.input_tokens_per_minute,
                limits.output_tokens_per_minute,
            )
        )
        fixed = limits.concurrency
        self._places = Places.fixed(fixed) if isinstance(fixed, int) else Places.found(MOST_PLACES)
        self._first = self._learn_limits
        self._taken = 0
        self._in_flight = 0
        self._paused_until = 0.0
        self._breaker = Breaker()
        self._queue = anyio.Lock()
        self._changed = anyio.Event()
        self._closed = False
        self._closing = anyio.Event()
        self._binding = ""
        self._text_ratio = _TEXT_RATIO_START
        self._output_mean = float(_OUTPUT_START)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the requests in flight, held while the block runs.

        Raises:
            PacerClosedError: no more requests are sent.
        """
        while not self._closed and self._taken >= (1 if self._first else self._places.count):
            await self._changed.wait()
        if self._closed:
            raise PacerClosedError
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._wake()

    async def permit(self, need: Need) -> "Permit":
        """Waits until one attempt may be sent; a fresh one for every attempt.

        Raises:
            PacerClosedError: no more requests are sent.
            BudgetReachedError: the budget has no room for it, and never will in this run.
        """
        async with self._queue:
            amounts = self._amounts(need)
            while True:
                if self._closed:
                    raise PacerClosedError
                if not self.budget.could_ever(need.worst_usd):
                    raise BudgetReachedError
                now = self._clock()
                wait = self._wait_s(amounts, now)
                if not self.budget.may_reserve(need.worst_usd):
                    if self._in_flight == 0:
                        raise BudgetReachedError
                    wait = math.inf
                if wait <= 0:
                    break
                changed = self._changed
                with anyio.move_on_after(None if wait == math.inf else wait):
                    await changed.wait()
            for name, bucket in self._buckets.items():
                bucket.take(amounts[name], now)
        self.budget.reserve(need.worst_usd)
        self._breaker.sent()
        self._in_flight += 1
        return Permit(self, need, amounts)

    async def sleep(self, seconds: float) -> None:
        """Waits, or until no more permits are given."""
        with anyio.move_on_after(seconds):
            while not self._closed:
                await self._closing.wait()

    def close(self) -> None:
        """Gives no more permits, and sends those that wait away."""
        self._closed = True
        self._closing.set()
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether no more permits are given."""
        return self._closed

    def statistics(self) -> PaceStatistics:
        """How the run is paced now."""
        now = self._clock()
        bucket = self._buckets.get(self._binding)
        fill = 0.0 if bucket is None else min(1.0, max(0.0, 1 - bucket.level / bucket.burst))
        return PaceStatistics(
            self._in_flight,
            1 if self._first else self._places.count,
            self._binding,
            fill,
            max(0.0, self._paused_until - now),
            self._breaker.is_open,
        )

    def ended(
        self, permit: "Permit", usage: Usage | None, headers: Mapping[str, str] | None, latency_s: float | None
    ) -> None:
        """An attempt ended; called by its permit."""
        now = self._clock()
        self._in_flight -= 1
        self._first = False
        if headers is not None and self._learn_limits:
            self._adopt(parse_limit_headers(headers), now)
        if usage is not None:
            self._learn(permit.need, usage)
            actual = {
                "requests": 1.0,
                "input": float(usage.input_tokens + usage.cache_creation_input_tokens),
                "output": float(usage.output_tokens),
            }
            for name, bucket in self._buckets.items():
                bucket.correct(permit.amounts.get(name, 0.0) - actual[name], now)
            self._breaker.answered()
            if latency_s is not None:
                self._places.answered(latency_s, self._in_flight + 1)
        self._wake()

    def failed(self, *, limited_s: float | None, overloaded: bool) -> None:
        """An attempt was refused for load: pauses everything, or counts towards the breaker."""
        now = self._clock()
        if limited_s is not None:
            self._paused_until = max(self._paused_until, now + limited_s)
            self._breaker.answered()
        elif overloaded:
            self._breaker.failed(now)
        else:
            self._breaker.answered()
        if limited_s is not None or overloaded:
            self._places.strained()
        self._wake()

    def unknown(self) -> None:
        """An attempt was given up by us."""
        self._breaker.gone()
        self._wake()

    def _wait_s(self, amounts: dict[str, float], now: float) -> float:
        waits = {name: bucket.wait_s(amounts[name], now) for name, bucket in self._buckets.items()}
        longest = max(waits, key=lambda name: waits[name], default="")
        if longest and waits[longest] > 0:
            self._binding = longest
        return max(waits.get(longest, 0.0), self._paused_until - now, self._breaker.wait_s(now))

    def _amounts(self, need: Need) -> dict[str, float]:
        return {
            "requests": 1.0,
            "input": need.image_tokens + need.text_chars * self._text_ratio,
            "output": min(float(need.max_tokens), self._output_mean),
        }

    def _learn(self, need: Need, usage: Usage) -> None:
        self._output_mean += _LEARN * (usage.output_tokens - self._output_mean)
        whole = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
        if need.text_chars and whole > need.image_tokens:
            ratio = (whole - need.image_tokens) / need.text_chars
            self._text_ratio += _LEARN * (min(ratio, 10.0) - self._text_ratio)

    def _adopt(self, said: LimitHeaders, now: float) -> None:
        limits = {"requests": said.requests_limit, "input": said.input_limit, "output": said.output_limit}
        left = {"requests": said.requests_remaining, "input": said.input_remaining, "output": said.output_remaining}
        for name, limit in limits.items():
            key = f"{name}_per_minute" if name == "requests" else f"{name}_tokens_per_minute"
            if getattr(self._limits, key) != "auto" or not limit:
                continue
            rate = limit * self._limits.share
            bucket = self._buckets.get(name)
            if bucket is None:
                self._buckets[name] = Bucket.full(rate, BURST_S, now)
            elif bucket.per_minute != rate:
                bucket.adopt(rate, BURST_S, now)
            remaining = left[name]
            if remaining is not None and remaining == 0:
                bucket = self._buckets[name]
                bucket.level = min(bucket.level, 0.0)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Permit:
    """Leave to send one attempt; ended exactly once, by one of its methods."""

    __slots__ = ("_pacer", "amounts", "need")

    def __init__(self, pacer: Pacer, need: Need, amounts: dict[str, float]) -> None:
        self._pacer = pacer
        self.need = need
        self.amounts = amounts

    def answered(self, usage: Usage, cost_usd: float, headers: Mapping[str, str], latency_s: float) -> None:
        """A 200 came, and cost so much."""
        self._pacer.budget.settle(self.need.worst_usd, cost_usd)
        self._pacer.ended(self, usage, headers, latency_s)

    def refused(self, headers: Mapping[str, str], *, limited_s: float | None, overloaded: bool) -> None:
        """Any other status: nothing was billed. `limited_s` is how long a 429 asks everybody to wait."""
        self._pacer.budget.settle(self.need.worst_usd, 0.0)
        self._pacer.ended(self, None, headers, None)
        self._pacer.failed(limited_s=limited_s, overloaded=overloaded)

    def lost(self, *, overloaded: bool) -> None:
        """No answer came: it may have been billed. `overloaded` where the service was at fault, not we."""
        self._pacer.budget.lose(self.need.worst_usd)
        self._pacer.ended(self, None, None, None)
        if overloaded:
            self._pacer.failed(limited_s=None, overloaded=True)
        else:
            self._pacer.unknown()

    def unsent(self) -> None:
        """The request never left: nothing was spent."""
        self._pacer.budget.settle(self.need.worst_usd, 0.0)
        self._pacer.ended(self, None, None, None)
        self._pacer.failed(limited_s=None, overloaded=True)
