"""`limits.budget_usd` of a run on many machines: ceilings for tenants that never exceed it in sum. Pure.

Each tenant has a ceiling for what it has spent and reserved, a little above what it needs now. As with rates (see
`dividing`), what it was offered counts beside what it has acknowledged. The shorter money is the less is kept in
reserve, and nothing is given that the first that waits still lacks, so that what lies about in small parts comes
together. A tenant is told that there is no more only when nothing in flight, anywhere, can make room.

What a tenant that died had as its ceiling stays committed until somebody has found out what it spent (`settle`); for a
while it counts as money that may come back.
"""

import math
from dataclasses import dataclass, field

from pipeline.limits.leasing import MoneyReport

__all__ = ["DOUBT_S", "Purse"]

DOUBT_S = 60.0
"""What a dead tenant held may come back within so long; then it is taken as spent, and nobody waits for it."""
_HARDLY_USD = 1e-9


@dataclass(slots=True)
class _Account:
    """A tenant's ceilings, and what it told last."""

    acked_usd: float = 0.0
    offered_usd: float = 0.0
    told: MoneyReport = field(default_factory=MoneyReport)

    @property
    def needs_usd(self) -> float:
        return self.told.spent_usd + self.told.reserved_usd

    @property
    def wants_usd(self) -> float:
        return self.needs_usd + self.told.wanted_usd

    @property
    def most_usd(self) -> float:
        return max(self.acked_usd, self.offered_usd, self.needs_usd)


class Purse:
    """One run's money; `limit_usd` is `None` where it has no limit."""

    def __init__(self, limit_usd: float | None) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        """By tenants that are done, and by dead ones once it is known."""
        self._open: dict[str, _Account] = {}
        self._doubtful: dict[str, tuple[_Account, float]] = {}

    @property
    def committed_usd(self) -> float:
        """Everything that is spent or may still be."""
        doubtful = sum(account.most_usd for account, _ in self._doubtful.values())
        return self.spent_usd + doubtful + sum(account.most_usd for account in self._open.values())

    def report(self, tenant: str, told: MoneyReport, *, taken: bool) -> None:
        """What a tenant tells, and whether it goes by the last offer."""
        if tenant in self._doubtful:
            self._open[tenant] = self._doubtful.pop(tenant)[0]
        account = self._open.setdefault(tenant, _Account())
        account.acked_usd = account.offered_usd if taken else account.acked_usd
        account.offered_usd, account.told = account.acked_usd, told

    def offer(self, tenant: str, now: float) -> tuple[float | None, bool]:
        """The ceiling of its next lease, and whether there may be more later."""
        if self.limit_usd is None:
            return None, True
        account, first = self._open[tenant], self._first_in_need()
        room = self.limit_usd - (self.committed_usd - account.most_usd)
        if first is not None and first is not account:
            room -= max(0.0, first.wants_usd - first.most_usd)
        told = account.told
        reserve = min(max(4 * told.worst_usd, 0.5 * told.reserved_usd), self._spare_usd() / len(self._open))
        offered = min(account.wants_usd + reserve, room)
        if offered < account.wants_usd - _HARDLY_USD and first is not account:
            offered = account.needs_usd  # too little to be of use; it may be enough for another
        account.offered_usd = max(account.needs_usd, offered)
        if account.offered_usd >= account.wants_usd - _HARDLY_USD:
            return account.offered_usd, True
        return account.offered_usd, self._may_come(account, now)

    def leave(self, tenant: str, spent_usd: float) -> None:
        """A tenant is done and has spent so much."""
        self._open.pop(tenant, None)
        self._doubtful.pop(tenant, None)
        self.spent_usd += spent_usd

    def lose(self, tenant: str, now: float) -> None:
        """A tenant is gone without a word: its whole ceiling may be spent."""
        account = self._open.pop(tenant, None)
        if account is not None:
            self._doubtful[tenant] = (account, now)

    def settle(self, tenant: str, spent_usd: float, open_requests: int) -> None:
        """What a dead tenant's own records say: so much, and so many requests whose end is not known."""
        account, _ = self._doubtful.pop(tenant, (None, 0.0))
        account = account or self._open.pop(tenant, None)
        if account is not None:
            self.spent_usd += min(account.most_usd, spent_usd + open_requests * account.told.worst_usd)

    def _spare_usd(self) -> float:
        """What is left beside everything that is spent, in flight, in doubt or waited for."""
        wanted = sum(one.wants_usd for one in self._open.values())
        doubtful = sum(account.most_usd for account, _ in self._doubtful.values())
        return max(0.0, (self.limit_usd or 0.0) - self.spent_usd - doubtful - wanted)

    def _first_in_need(self) -> _Account | None:
        return next((one for one in self._open.values() if one.told.wanted_usd > 0), None)

    def _may_come(self, account: _Account, now: float) -> bool:
        """Whether anything that is in flight or held elsewhere could make room for what a tenant waits for."""
        limit = self.limit_usd if self.limit_usd is not None else math.inf
        spent = self.spent_usd + sum(one.told.spent_usd for one in self._open.values())
        if spent + account.told.wanted_usd > limit + _HARDLY_USD:
            return False
        elsewhere = sum(one.most_usd - one.told.spent_usd for one in self._open.values() if one is not account)
        doubtful = sum(one.most_usd for one, since in self._doubtful.values() if now - since < DOUBT_S)
        return elsewhere + doubtful + account.told.reserved_usd > _HARDLY_USD
