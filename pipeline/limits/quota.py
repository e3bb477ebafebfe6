"""A quota of retries for the whole run, so that a failing service is not asked twice as often for failing. Pure.

After botocore's `standard` mode: a retry takes one from a store, a retry that is answered gives it back, a first
attempt that is answered gives back a fifth. While one in six requests or fewer fails nobody notices; where most fail,
retries are bounded by the store and by what trickles in. An empty store makes retries wait; it fails nothing. Rate
limits are not counted: their pause is the service's own.
"""

from dataclasses import dataclass

__all__ = ["RetryQuota"]

_STORE = 100.0
_FIRST_ANSWERED = 0.2
_TRICKLE_S = 2.0
"""Seconds for one more: slow progress where nothing at all is answered and the breaker has not opened."""


@dataclass(slots=True)
class RetryQuota:
    """The store, and when it was last looked at."""

    level: float = _STORE
    at: float = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a retry may be taken, 0 where one may be now."""
        self._refill(now)
        return (1.0 - self.level) * _TRICKLE_S if self.level < 1.0 - 1e-9 else 0.0

    def take(self, now: float) -> None:
        """A retry goes; the caller has waited `wait_s`."""
        self._refill(now)
        self.level -= 1.0

    def answered(self, *, retried: bool) -> None:
        """A request was answered, at its first attempt or after retries."""
        self.level = min(_STORE, self.level + (1.0 if retried else _FIRST_ANSWERED))

    def _refill(self, now: float) -> None:
        if now > self.at:
            self.level = min(_STORE, self.level + (now - self.at) / _TRICKLE_S)
            self.at = now
