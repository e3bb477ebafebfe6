"""The lessor of one run's limits: tenants report, and get leases back. Pure, with time as an argument.

Rates, places in flight and money are divided so that what is in force anywhere never exceeds the run's part of the
account in sum (see `dividing` and `purse`). What a tenant does not use goes to those that wait; a tenant that is not
heard of loses its lease when that has run out, which it knows by itself. Limits that are to be learned begin with one
tenant that sends one request; what its answer tells is divided among all. A pause that a 429 asked for holds for all.

A lessor that takes another's place (its process was killed) gives nothing away that it does not know of until every
lease of the one before has run out; tenants tell what they hold.
"""

import math
from dataclasses import dataclass, field

from pipeline.limits.dividing import Division, fair
from pipeline.limits.leasing import VALID_S, LaneLease, LaneReport, Lease, Report
from pipeline.limits.purse import Purse
from pipeline.settings import SettingsLimits

__all__ = ["LIMIT_KEYS", "Lessor"]

LIMIT_KEYS = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
}
_DROP_AFTER = 1.25
"""Leases are taken to last so much longer than they do: clocks of machines run at slightly different speeds."""
_REPORTS_A_SECOND = 500
"""What one process answers with ease; with more tenants each reports less often."""
_LEAST_NEXT_S = 0.4
_DIVIDE_EVERY_S = 0.2
_SMOOTH_S = 5.0
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples are spread evenly between whole numbers, however many there are."""
_ROOM = 1.5
_FLOOR = 0.05
"""A tenant that waits for nothing keeps half as much again as it uses, and this part of an equal share."""


@dataclass(slots=True)
class _Tenant:
    """One worker, as it was last heard of.

    Attributes:
        rates: what it uses of each limit of each lane, smoothed, a minute.
        bound_at: when each of them last held it up.
    """

    seen: float
    phase: float
    number: int = 0
    rates: dict[tuple[int, str], float] = field(default_factory=dict)
    bound_at: dict[tuple[int, str], float] = field(default_factory=dict)

    def took(self, lane: int, report: LaneReport, now: float) -> None:
        """Follows what it used and waited for."""
        span = max(1e-3, now - self.seen)
        weight = 1 - math.exp(-span / _SMOOTH_S)
        for name in LIMIT_KEYS:
            before = self.rates.get((lane, name), 0.0)
            rate = report.used.get(name, 0.0) * 60 / span
            self.rates[lane, name] = before + weight * (rate - before)
        self.bound_at |= {(lane, name): now for name in report.bound}
        if report.in_flight:
            self.bound_at[lane, ""] = now

    def waits(self, lane: int, name: str, now: float) -> bool:
        """Whether it was held up by that limit a moment ago."""
        return now - self.bound_at.get((lane, name), -math.inf) < _SMOOTH_S


class _Lane:
    """One endpoint of the account, divided."""

    def __init__(self, limits: SettingsLimits, lanes: int) -> None:
        given = {name: getattr(limits, key) for name, key in LIMIT_KEYS.items()}
        self._share = limits.share
        self._auto = {name for name, value in given.items() if value == "auto"}
        self.limits = {
            name: Division(None if value == "auto" else value * limits.share)
            for name, value in given.items()
            if value != "off"
        }
        fixed = limits.concurrency
        self.places = Division(max(1, fixed // lanes)) if isinstance(fixed, int) else None
        self.known = not self._auto
        self.paused_until = -math.inf
        self.parts: dict[str, dict[str, float]] = {}
        self.scout: str | None = None

    def heed(self, report: LaneReport, now: float) -> None:
        """What a report says of the account."""
        for name in self._auto & report.told.keys():
            self.limits[name].total = report.told[name] * self._share
        self.known = self.known or report.heard
        if report.pause_s > 0:
            self.paused_until = max(self.paused_until, now + report.pause_s)

    def divide(self, number: int, tenants: dict[str, _Tenant], now: float) -> None:
        """What each tenant is to have of each limit."""
        for name, division in self.limits.items():
            if division.total is None:
                continue
            floor = _FLOOR * division.total / max(1, len(tenants))
            demands = {
                key: math.inf if one.waits(number, name, now) else floor + _ROOM * one.rates.get((number, name), 0.0)
                for key, one in tenants.items()
            }
            self.parts[name] = fair(demands, division.total)

    def divisions(self) -> list[Division]:
        """Everything that is divided."""
        return [*self.limits.values(), *([self.places] if self.places is not None else [])]


class Lessor:
    """Divides one run's limits.

    Args:
        limits: the `limits` section: the run's as a whole.
        lanes: how many endpoints, each with these limits for itself.
        since: seconds on the caller's clock, where another lessor may have given leases before.
        first: number of the first lease; two lessors of one run never give the same.
    """

    def __init__(self, limits: SettingsLimits, lanes: int = 1, *, since: float | None = None, first: int = 1) -> None:
        self._lanes = [_Lane(limits, lanes) for _ in range(lanes)]
        self.purse = Purse(limits.budget_usd)
        self._tenants: dict[str, _Tenant] = {}
        self._grows_from = -math.inf if since is None else since + VALID_S * _DROP_AFTER
        self._next = first
        self._divided_at = -math.inf
        self._looked_at = -math.inf
        self._joins = 0

    def report(self, key: str, report: Report, now: float) -> Lease:
        """A tenant reports, and gets its next lease."""
        self._expire(now)
        tenant = self._tenants.get(key) or self._joined(key, report, now)
        taken = report.ack == tenant.number and tenant.number > 0
        for number, (lane, said) in enumerate(zip(self._lanes, report.lanes, strict=True)):
            tenant.took(number, said, now)
            lane.heed(said, now)
            for division in lane.divisions():
                division.heard(key, taken=taken)
        tenant.seen = now
        self.purse.report(key, report.money, taken=taken)
        if now - self._divided_at >= _DIVIDE_EVERY_S:
            self._divide(now)
        ceiling_usd, more = self.purse.offer(key, now)
        lanes = tuple(
            self._lane_lease(number, key, said, now) for number, said in zip(self._numbers, report.lanes, strict=True)
        )
        tenant.number, self._next = self._next, self._next + 1
        return Lease(tenant.number, lanes, ceiling_usd, more, VALID_S, self.next_s)

    @property
    def next_s(self) -> float:
        """How long a tenant waits between two reports."""
        return min(VALID_S / 2, max(_LEAST_NEXT_S, len(self._tenants) / _REPORTS_A_SECOND))

    @property
    def tenants(self) -> int:
        """How many hold leases."""
        return len(self._tenants)

    def in_force(self, name: str, lane: int = 0) -> float:
        """The most of a limit that all tenants together may go by, a minute."""
        return self._lanes[lane].limits[name].in_force

    def leave(self, key: str, spent_usd: float) -> None:
        """A tenant is done: all that it had comes back, but what it has spent."""
        self._drop(key)
        self.purse.leave(key, spent_usd)

    def lost(self, key: str, spent_usd: float, open_requests: int) -> None:
        """A tenant is known to be dead, and its records say what it spent; without an end were so many requests."""
        self._drop(key)
        self.purse.settle(key, spent_usd, open_requests)

    @property
    def _numbers(self) -> range:
        return range(len(self._lanes))

    def _joined(self, key: str, report: Report, now: float) -> _Tenant:
        self._joins += 1
        tenant = self._tenants[key] = _Tenant(now, self._joins * _GOLDEN % 1.0)
        for lane, said in zip(self._lanes, report.lanes, strict=True):
            for name, rate in said.held.items():
                if name in lane.limits:
                    lane.limits[name].believed(key, rate)
            if lane.places is not None and said.held:
                lane.places.believed(key, said.held_places or 0)
        self._divided_at = -math.inf
        return tenant

    def _divide(self, now: float) -> None:
        self._divided_at = now
        for number, lane in enumerate(self._lanes):
            lane.divide(number, self._tenants, now)

    def _lane_lease(self, number: int, key: str, said: LaneReport, now: float) -> LaneLease:
        lane, grows = self._lanes[number], now >= self._grows_from
        if not lane.known:
            # The first request is one tenant's: the first that waits to send it.
            first = int(grows and self._scout(number, now) == key)
            return LaneLease({}, {}, first, known=False, pause_s=max(0.0, lane.paused_until - now))
        rates, whole = {}, {}
        for name, division in lane.limits.items():
            if division.total is not None:
                rates[name] = division.offer(key, lane.parts.get(name, {}).get(key, 0.0), grows=grows)
                whole[name] = division.total
        places: int | None = None
        if lane.places is not None:
            wanted = math.ceil((lane.places.total or 1) / len(self._tenants))
            idle = not said.bound and not said.in_flight
            places = math.floor(lane.places.offer(key, 0 if idle else wanted, grows=grows) + 1e-9)
        pause_s = max(0.0, lane.paused_until - now)
        return LaneLease(rates, whole, places, known=True, pause_s=pause_s, phase=self._tenants[key].phase)

    def _scout(self, number: int, now: float) -> str | None:
        """The tenant that sends a lane's first request: it stays the one while it waits for that, or for its answer."""
        lane, waiting = self._lanes[number], [key for key, one in self._tenants.items() if one.waits(number, "", now)]
        if lane.scout not in waiting:
            lane.scout = waiting[0] if waiting else None
        return lane.scout

    def _expire(self, now: float) -> None:
        if now - self._looked_at < _DIVIDE_EVERY_S:
            return
        self._looked_at = now
        gone = [key for key, one in self._tenants.items() if now - one.seen > VALID_S * _DROP_AFTER]
        for key in gone:
            self._drop(key)
            self.purse.lose(key, now)

    def _drop(self, key: str) -> None:
        if self._tenants.pop(key, None) is None:
            return
        for lane in self._lanes:
            for division in lane.divisions():
                division.drop(key)
            for parts in lane.parts.values():
                parts.pop(key, None)
        self._divided_at = -math.inf
