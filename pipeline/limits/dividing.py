"""One rate limit divided among tenants so that what is in force never exceeds it in sum. Pure.

A tenant goes by its lease until it has heard of the next one, and nobody knows when it hears. So what it was offered
counts beside what it has acknowledged, and the larger of the two is taken to be in force; only what is left of the
limit beside all of these is offered to others. A tenant that is to have less therefore gives it back with its next
report, and only then does it go to another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Division", "fair"]


@dataclass(slots=True)
class _Held:
    """What a tenant goes by, as far as is known, and what it was offered since."""

    acked: float = 0.0
    offered: float = 0.0

    @property
    def most(self) -> float:
        return max(self.acked, self.offered)


class Division:
    """One limit; `total` is the run's, `None` while it is not known."""

    def __init__(self, total: float | None) -> None:
        self.total = total
        self._held: dict[str, _Held] = {}
        self._sum = 0.0

    @property
    def in_force(self) -> float:
        """The most that all tenants together may go by."""
        return self._sum

    def held(self, tenant: str) -> float:
        """The most that one may go by."""
        held = self._held.get(tenant)
        return held.most if held is not None else 0.0

    def heard(self, tenant: str, *, taken: bool) -> None:
        """A tenant goes by the last offer, or, where it never came, by the one before it."""
        held = self._held.get(tenant)
        if held is None:
            return
        if taken:
            self._set(tenant, held.offered, held.offered)
        else:
            self._set(tenant, held.acked, held.acked)

    def believed(self, tenant: str, amount: float) -> None:
        """A tenant goes by a lease that another lessor gave, before this one began."""
        self._set(tenant, amount, amount)

    def offer(self, tenant: str, wanted: float, *, grows: bool = True) -> float:
        """The part of a tenant from its next lease on: what is wanted for it, as far as there is room."""
        held = self._held.get(tenant) or _Held()
        room = (self.total or 0.0) - (self._sum - held.most)
        offered = max(0.0, min(wanted, room if grows else held.acked))
        self._set(tenant, held.acked, offered)
        return offered

    def drop(self, tenant: str) -> None:
        """A tenant is gone, or its lease has run out."""
        self._set(tenant, 0.0, 0.0)
        self._held.pop(tenant, None)
        if not self._held:
            self._sum = 0.0  # what rounding left over

    def _set(self, tenant: str, acked: float, offered: float) -> None:
        held = self._held.setdefault(tenant, _Held())
        self._sum -= held.most
        held.acked, held.offered = acked, offered
        self._sum += held.most


def fair(demands: Mapping[str, float], total: float) -> dict[str, float]:
    """Max-min fair parts: nobody gets more than an equal part while another wants more than it has.

    What is left when every demand is met goes to all alike, so that nobody waits for what nobody uses.
    """
    parts: dict[str, float] = {}
    left, count = total, len(demands)
    for tenant, demand in sorted(demands.items(), key=lambda pair: pair[1]):
        parts[tenant] = min(demand, left / count)
        left, count = left - parts[tenant], count - 1
    extra = max(0.0, left) / len(demands) if demands else 0.0
    return {tenant: part + extra for tenant, part in parts.items()}
