"""A circuit breaker for outages: after a run of failures without an answer, one probe at a time. Pure.

While it is open nothing is sent but probes, their distance doubling up to 15 s, so that five minutes of refusals cost
some twenty requests and recovery is noticed within 15 s. Any answer closes it.
"""

from dataclasses import dataclass

__all__ = ["Breaker"]

_TRIP = 8
_FIRST_S = 1.0
_LONGEST_S = 15.0


@dataclass(slots=True)
class Breaker:
    """The state of one endpoint.

    Attributes:
        failures: in a row, without an answer between them.
        probe_at: when the next probe may go; `None` while closed.
        probing: whether a probe is under way.
    """

    failures: int = 0
    distance_s: float = _FIRST_S
    probe_at: float | None = None
    probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether only probes may go."""
        return self.probe_at is not None

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go; infinite while a probe is under way."""
        if self.probe_at is None:
            return 0.0
        return float("inf") if self.probing else max(0.0, self.probe_at - now)

    def sent(self) -> None:
        """A request goes out."""
        if self.is_open:
            self.probing = True

    def answered(self) -> None:
        """The service answered: closed."""
        self.failures, self.distance_s, self.probe_at, self.probing = 0, _FIRST_S, None, False

    def failed(self, now: float) -> None:
        """The service failed or was not reached."""
        self.failures += 1
        if self.probing:
            self.distance_s = min(_LONGEST_S, self.distance_s * 2)
        if self.probing or self.failures >= _TRIP:
            self.probe_at = now + self.distance_s
            self.probing = False

    def gone(self) -> None:
        """A request ended without telling anything of the service: a probe may go in its place."""
        self.probing = False
