"""A circuit breaker for outages: after a run of failures without an answer, one probe at a time. Pure.

While it is open nothing is sent but probes, their distance doubling up to 15 s, so that five minutes of refusals cost
some twenty requests and recovery is noticed within 15 s. Any answer closes it. What was sent before it opened and fails
afterwards tells nothing new, so probes are numbered: only the failure of the one under way moves the next one.
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
        distance_s: between the last probe and the next.
        probe_at: when the next probe may go; `None` while closed.
        probe: the number of the probe under way, 0 for none.
        probes: sent so far.
    """

    failures: int = 0
    distance_s: float = _FIRST_S
    probe_at: float | None = None
    probe: int = 0
    probes: int = 0

    @property
    def is_open(self) -> bool:
        """Whether only probes may go."""
        return self.probe_at is not None

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go; infinite while a probe is under way."""
        if self.probe_at is None:
            return 0.0
        return float("inf") if self.probe else max(0.0, self.probe_at - now)

    def sent(self) -> int:
        """A request goes out; the number of the probe that it is, 0 where it is none."""
        if not self.is_open:
            return 0
        self.probes += 1
        self.probe = self.probes
        return self.probe

    def answered(self) -> None:
        """The service answered: closed."""
        self.failures, self.distance_s, self.probe_at, self.probe = 0, _FIRST_S, None, 0

    def failed(self, now: float, probe: int = 0) -> None:
        """The service failed or was not reached, for the request that `sent` gave this number."""
        if not self.is_open:
            self.failures += 1
            if self.failures >= _TRIP:
                self.probe_at = now + self.distance_s
        elif probe and probe == self.probe:
            self.distance_s = min(_LONGEST_S, self.distance_s * 2)
            self.probe_at = now + self.distance_s
            self.probe = 0

    def gone(self, probe: int = 0) -> None:
        """A request ended without telling anything of the service: a probe may go in its place."""
        if probe == self.probe:
            self.probe = 0
