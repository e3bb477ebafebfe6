"""A circuit breaker for outages: after a run of failures without an answer, one probe at a time. Pure.

While it is open nothing is sent but probes, their distance doubling up to 24 s (or the longest wait that the user
allows, where that is shorter), so that five minutes of refusals cost
some fifteen requests and recovery is noticed well within 30 s. What was sent before a streak of failures began tells
nothing of what came after: its answer neither ends the streak nor closes the breaker. Probes are numbered: only the end
of the one under way moves the next one. A single request that fails again and again is at fault itself, not the
service, as long as others have been answered: it takes two to open the breaker.
"""

import math
from dataclasses import dataclass

__all__ = ["Breaker"]

_TRIP = 8
_FIRST_S = 2.0
_LONGEST_S = 24.0
_PATIENCE_S = 600.0
"""Twice the longest outage that a run is to sit out."""
_FIRST_PATIENCE_S = 120.0
"""Of a server that nothing ever came from: it may be starting, or its address may be wrong."""


@dataclass(slots=True)
class Breaker:
    """The state of one endpoint.

    Attributes:
        failures: in a row, without an answer between them.
        since: when the first of them was told.
        asker: whose the first of them was.
        several: whether others failed too, or nothing was ever answered.
        ever_answered: whether the service has answered anything yet.
        ever_heard: whether anything came from it, a failure of its own included.
        opened_at: when it opened.
        longest_s: between two probes.
        distance_s: between the last probe and the next.
        probe_at: when the next probe may go; `None` while closed.
        probe: the number of the probe under way, 0 for none.
        probes: sent so far.
    """

    failures: int = 0
    since: float = math.inf
    asker: int = 0
    several: bool = False
    ever_answered: bool = False
    ever_heard: bool = False
    opened_at: float = math.inf
    longest_s: float = _LONGEST_S
    distance_s: float = _FIRST_S
    probe_at: float | None = None
    probe: int = 0
    probes: int = 0

    @classmethod
    def waiting(cls, longest_s: float) -> "Breaker":
        """A closed one, whose probes are at most so far apart."""
        longest_s = min(_LONGEST_S, longest_s)
        return cls(longest_s=longest_s, distance_s=min(_FIRST_S, longest_s))

    @property
    def is_open(self) -> bool:
        """Whether only probes may go."""
        return self.probe_at is not None

    def open_s(self, now: float) -> float:
        """For how many seconds it has been open, 0 while closed."""
        return now - self.opened_at if self.is_open else 0.0

    def is_outlasted(self, now: float) -> bool:
        """Whether it has been open for longer than a run is to wait: what has been tried before is given up."""
        return self.open_s(now) > (_PATIENCE_S if self.ever_heard else _FIRST_PATIENCE_S)

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

    def answered(self, sent_at: float, probe: int = 0) -> None:
        """The service answered what was sent then, under this number of `sent`."""
        self.ever_answered = True
        if self.is_open and (not probe or probe != self.probe):
            return
        if not self.is_open and sent_at < self.since < math.inf:
            return
        self.failures, self.since, self.several = 0, math.inf, False
        self.distance_s, self.probe_at, self.probe = min(_FIRST_S, self.longest_s), None, 0

    def failed(self, now: float, probe: int = 0, asker: int = 0) -> bool:
        """The service failed or was not reached, for the request of this number; whether that has opened it."""
        if not self.is_open:
            if self.failures == 0:
                self.since, self.asker = now, asker
            self.failures += 1
            self.several = self.several or asker != self.asker or not self.ever_answered
            if self.failures >= _TRIP and self.several:
                self.opened_at, self.probe_at = now, now + self.distance_s
                return True
        elif probe and probe == self.probe:
            self.distance_s = min(self.longest_s, self.distance_s * 2)
            self.probe_at = now + self.distance_s
            self.probe = 0
        return False

    def gone(self, probe: int = 0) -> None:
        """A request ended without telling anything of the service: a probe may go in its place."""
        if probe == self.probe:
            self.probe = 0
