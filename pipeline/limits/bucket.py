"""A token bucket as a pure function of state and time (generic cell rate: a level that refills continuously).

What is larger than the burst is granted when the bucket is full, and brings its level below zero; so does an answer
that turned out larger than its estimate. Nothing more is granted until it has refilled. So over any span the bucket
grants at most burst + rate x time, where a last request larger than the burst may come on top; and it always
progresses.
"""

from dataclasses import dataclass

__all__ = ["Bucket"]

_NEGLIGIBLE = 1e-6
"""The part of the burst that may be missing: what rounding leaves over after a wait that was exactly long enough."""


@dataclass(slots=True)
class Bucket:
    """One limit.

    Attributes:
        per_minute: the rate.
        burst: the most that it holds.
        level: what it held at `at`.
        at: seconds on the caller's clock.
    """

    per_minute: float
    burst: float
    level: float
    at: float

    @classmethod
    def full(cls, per_minute: float, burst_s: float, now: float) -> "Bucket":
        """A bucket that holds `burst_s` seconds of its rate, at least one unit, and is full."""
        burst = max(1.0, per_minute * burst_s / 60)
        return cls(per_minute, burst, burst, now)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken, 0 where it may be now."""
        self._refill(now)
        missing = min(amount, self.burst) - self.level
        return missing * 60 / self.per_minute if missing > self.burst * _NEGLIGIBLE else 0.0

    def take(self, amount: float, now: float) -> None:
        """Takes `amount`; the caller has waited `wait_s`."""
        self._refill(now)
        self.level -= amount

    def correct(self, amount: float, now: float) -> None:
        """Gives back what was taken and not used, or takes what was used beyond it (a negative amount)."""
        self._refill(now)
        self.level = min(self.burst, self.level + amount)

    def adopt(self, per_minute: float, burst_s: float, now: float) -> None:
        """Follows a limit that has become known or has changed."""
        self._refill(now)
        self.per_minute = per_minute
        self.burst = max(1.0, per_minute * burst_s / 60)
        self.level = min(self.level, self.burst)

    def pace(self, per_minute: float, now: float) -> None:
        """Refills at another rate from now on; what it holds stays."""
        self._refill(now)
        self.per_minute = per_minute

    def drain(self, until: float) -> None:
        """The service says that nothing is left: empty, and refilling only from `until` on."""
        self.level = min(self.level, 0.0)
        self.at = max(self.at, until)

    def fill(self, now: float) -> float:
        """The part that is used up, from 0 (free) to 1."""
        self._refill(now)
        return min(1.0, max(0.0, 1 - self.level / self.burst))

    def _refill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.burst, self.level + (now - self.at) * self.per_minute / 60)
            self.at = now
