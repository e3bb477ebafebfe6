"""One endpoint as the pacer sees it: its limits, places, breaker and pause. Pure, with time as an argument.

An endpoint starts with one request where its limits are to be learned, and goes on alone until something is known of
it. One that is in an outage keeps a single place, for its probes; one that refused the key or the model has none.
"""

import math

from pipeline.limits.breaker import Breaker
from pipeline.limits.headers import parse_limit_headers
from pipeline.limits.leasing import LaneLease, LaneReport
from pipeline.limits.meters import Amounts, Meters, Need
from pipeline.limits.permits import End, Permit, Tells
from pipeline.limits.places import Places
from pipeline.limits.tenure import Tenure
from pipeline.settings import SettingsLimits

__all__ = ["MOST_PLACES", "Lane"]

MOST_PLACES = 256
_HARDLY_S = 1e-9


class Lane:
    """Paces requests to one endpoint.

    Args:
        limits: the `limits` section; each endpoint has them for itself.
        weight: its part of the requests, where several could take one.
        now: seconds on the caller's clock.
        longest_wait_s: between two probes of an outage, where that is shorter than the breaker's own.
        leased: whether it sends only what a lease allows, as one of several workers of a run.

    Attributes:
        in_flight: requests sent and not answered.
        passed: requests given by its weight, for the choice between endpoints.
        retired: it takes no more requests in this run.
        breaker: open during an outage.
        meters: the three limits.
        tenure: by whose leases it goes, `None` where it has the limits to itself.
    """

    def __init__(
        self,
        limits: SettingsLimits,
        weight: float,
        now: float,
        longest_wait_s: float = math.inf,
        *,
        leased: bool = False,
    ) -> None:
        self.tenure = Tenure() if leased else None
        self.weight = weight
        self.meters = Meters(limits, now)
        self.breaker = Breaker.waiting(longest_wait_s)
        self.in_flight = 0
        self.passed = 0.0
        self.retired = False
        fixed = limits.concurrency
        self._places = Places.fixed(fixed) if isinstance(fixed, int) else Places.found(MOST_PLACES)
        self._places_before = self._places.count
        self._alone = self.meters.learns
        self._paused_until = -math.inf

    @property
    def places(self) -> int:
        """How many requests may be in flight."""
        if self.retired:
            return 0
        return 1 if self._alone or self.breaker.is_open else self._places.count

    def paused_s(self, now: float) -> float:
        """Seconds that the endpoint still pauses, after a 429."""
        return max(0.0, self._paused_until - now)

    def wait_s(self, need: Need, now: float) -> tuple[str, float]:
        """The limit that binds, if one does, and the seconds until the request may be sent; infinite: not by time."""
        if self.retired:
            return "", math.inf
        if self.in_flight >= self.places and not self.breaker.is_open:
            return "", math.inf
        if self.tenure is not None and not self.tenure.admits(self.in_flight, now):
            return "", math.inf
        binding, wait = self.meters.wait_s(self.meters.amounts(need), now)
        if self.tenure is not None:
            self.tenure.awaits(binding)
        wait = max(wait, self.paused_s(now), self.breaker.wait_s(now))
        return binding, wait if wait > _HARDLY_S else 0.0

    def begin(self, need: Need, now: float) -> tuple[Amounts, int]:
        """A request goes out: what is reserved for it, and the number of the breaker's probe that it is."""
        amounts = self.meters.amounts(need)
        self.meters.take(amounts, now)
        self.in_flight += 1
        if self.tenure is not None:
            self.tenure.count(amounts)
        return amounts, self.breaker.sent()

    def ended(self, permit: Permit, end: End, now: float) -> bool:
        """A request ended; whether it belongs to an outage."""
        self.in_flight -= 1
        self.breaker.ever_heard = self.breaker.ever_heard or end.headers is not None
        said = parse_limit_headers(end.headers or {})
        known = end.latency_s is not None or said.requests_limit is not None
        self._alone = self._alone and not known
        if self.tenure is not None:
            self.tenure.heard(said, known=known)
        self.meters.adopt(said, now)
        if said.requests_limit is not None:
            self._places.announced()
        if end.usage is not None:
            self.meters.correct(permit.need, permit.amounts, end.usage, now)
        self.retired = self.retired or end.retire
        return self._heed(permit, end, now)

    def adopt(self, lease: LaneLease, until: float, now: float) -> None:
        """A lease came, good until then."""
        if self.tenure is None:
            raise RuntimeError("a lane that has the limits to itself takes no lease")
        self.tenure.adopt(lease, until)
        self._alone = self._alone and not lease.known
        self._paused_until = max(self._paused_until, now + lease.pause_s)
        if lease.whole.get("requests"):
            self._places.announced()
        self.meters.lease(lease, now)

    def report(self, now: float) -> LaneReport:
        """What the lessor is to know of it; what was used and waited for counts from now on anew."""
        if self.tenure is None:
            raise RuntimeError("a lane that has the limits to itself reports to nobody")
        return self.tenure.report(self.in_flight, now)

    def _heed(self, permit: Permit, end: End, now: float) -> bool:
        """What an end tells of the service: to the breaker, the places and the pause."""
        if end.tells is Tells.NOTHING:
            self.breaker.gone(permit.probe)
            return False
        if end.tells is Tells.FAILING:
            self._failed(permit, now)
            return self.breaker.is_open
        self.breaker.answered(permit.sent_at, permit.probe)
        if end.pause_s is not None:
            self._limited(end, now)
        elif end.latency_s is not None:
            self._places.answered(end.latency_s, self.in_flight + 1)
        return False

    def _failed(self, permit: Permit, now: float) -> None:
        """A fault or no answer: a sign of load, unless it turns out to be an outage."""
        was_open, failures = self.breaker.is_open, self.breaker.failures
        opens = self.breaker.failed(now, permit.probe, permit.asker)
        if was_open:
            return
        if failures == 0:
            self._places_before = self._places.count
        if opens:
            self._places.restore(self._places_before)
        elif not self._places.paced:
            self._places.strained(self.in_flight)

    def _limited(self, end: End, now: float) -> None:
        """A 429. Where the limits are known, the meters answer for it, and not the number in flight."""
        self._paused_until = max(self._paused_until, now + (end.pause_s or 0.0))
        if self.tenure is not None:
            self.tenure.paused_until = self._paused_until
        self.meters.exhausted(parse_limit_headers(end.headers or {}), self._paused_until)
        if end.ramp:
            self.meters.slow_down(now)
        if end.ramp or not self._places.paced or self.meters.is_shared("output"):
            self._places.strained(self.in_flight)
