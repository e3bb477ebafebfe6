"""One endpoint's part of leases on the worker's side: what is in force, what was used, what is to be reported. Pure."""

import math

from pipeline.limits.headers import LimitHeaders
from pipeline.limits.leasing import LaneLease, LaneReport

__all__ = ["Tenure"]


class Tenure:
    """By whose leases a lane goes; without one it sends nothing.

    Attributes:
        paused_until: when the pause of a 429 that came to this worker is over.
    """

    def __init__(self) -> None:
        self.paused_until = -math.inf
        self._lease = LaneLease(places=0, known=False)
        self._until = -math.inf
        self._used: dict[str, float] = {}
        self._bound: set[str] = set()
        self._waiting: str | None = None
        self._told: dict[str, int] = {}
        self._heard = False

    def adopt(self, lease: LaneLease, until: float) -> None:
        """A lease came, good until then."""
        self._lease, self._until = lease, until

    def admits(self, in_flight: int, now: float) -> bool:
        """Whether the lease in force allows another request beside those in flight; its rates are the meters' part."""
        places = self._lease.places
        is_open = now < self._until and (places is None or in_flight < places)
        if not is_open:
            self.awaits("")
            self._bound.add("")
        return is_open

    def awaits(self, binding: str) -> None:
        """A request waits for that limit, or for nothing that the lease holds back."""
        self._waiting = binding
        if binding:
            self._bound.add(binding)

    def count(self, amounts: dict[str, float]) -> None:
        """A request goes out."""
        self._waiting = None
        for name, amount in amounts.items():
            self._used[name] = self._used.get(name, 0.0) + amount

    def heard(self, said: LimitHeaders, *, known: bool) -> None:
        """An answer came; `known` where it tells that the service answers, or which limits it has."""
        self._heard = self._heard or known
        self._told |= {name: limit for name, (limit, _) in said.pairs().items() if limit}

    def report(self, in_flight: int, now: float) -> LaneReport:
        """What the lessor is to know."""
        bound = frozenset(self._bound | ({self._waiting} if self._waiting is not None else set()))
        in_force = now < self._until and self._lease.known
        said = LaneReport(
            used=self._used,
            bound=bound,
            told=dict(self._told),
            heard=self._heard,
            in_flight=in_flight,
            pause_s=max(0.0, self.paused_until - now),
            held=self._lease.rates if in_force else {},
            held_places=self._lease.places if in_force else None,
        )
        self._used, self._bound = {}, set()
        return said
