"""`limits.budget_usd`: spending that cannot pass its limit, requests in flight included. Pure.

Every attempt reserves the most that it can cost before it is sent; its answer settles the reservation at the real
price. An attempt whose end is never known keeps its reservation: the service may have billed it.
"""

from dataclasses import dataclass

__all__ = ["Budget"]

_ROUNDING_USD = 1e-9


@dataclass(slots=True)
class Budget:
    """One run's money in US dollars; `limit_usd` is `None` where it has no limit.

    Attributes:
        grows: whether the limit is a lease that may be raised.
        wanted_usd: what the next request may cost, where it waits for that.
        worst_usd: the most that one request could cost so far.
    """

    limit_usd: float | None
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    grows: bool = False
    wanted_usd: float = 0.0
    worst_usd: float = 0.0

    def may_reserve(self, worst_usd: float) -> bool:
        """Whether a request that may cost so much fits beside what is spent and reserved."""
        if self.limit_usd is None:
            return True
        return self.spent_usd + self.reserved_usd + worst_usd <= self.limit_usd + _ROUNDING_USD

    def could_ever(self, worst_usd: float) -> bool:
        """Whether it would fit once everything in flight has turned out free."""
        return self.limit_usd is None or self.spent_usd + worst_usd <= self.limit_usd + _ROUNDING_USD

    def reserve(self, worst_usd: float) -> None:
        """Sets the money aside."""
        self.wanted_usd, self.worst_usd = 0.0, max(self.worst_usd, worst_usd)
        self.reserved_usd += worst_usd

    def settle(self, worst_usd: float, actual_usd: float) -> None:
        """The attempt ended and cost so much."""
        self.reserved_usd -= worst_usd
        self.spent_usd += actual_usd

    def lose(self, worst_usd: float) -> None:
        """The attempt's end is not known: it counts as spent in full."""
        self.settle(worst_usd, worst_usd)
