"""What a worker and the lessor of a run's limits tell each other: reports one way, leases the other. Plain values.

A run on many machines has one account and one budget. Its *lessor* divides them among the *tenants*, one worker each;
a lease is good for a few seconds and is renewed by every report. So what a dead worker held comes back by itself, and
a worker that hears nothing sends nothing more.
"""

from dataclasses import dataclass, field

__all__ = ["VALID_S", "LaneLease", "LaneReport", "Lease", "MoneyReport", "Report"]

VALID_S = 4.0
"""Seconds for which a lease is good: several reports may get lost or come late on a busy machine."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One endpoint, as a worker has seen it.

    Attributes:
        used: of each limit, what was taken since the report before.
        bound: limits that requests waited for, and `""` where they waited for a lease or a place.
        told: limits per minute as the newest answer told them.
        heard: whether anything was answered yet.
        in_flight: requests sent and not answered.
        pause_s: seconds that a 429 which came to this worker still asks everybody to wait.
        held: rates of the lease that is in force, empty where none is.
        held_places: places of that lease, `None` for no bound.
    """

    used: dict[str, float] = field(default_factory=dict)
    bound: frozenset[str] = frozenset()
    told: dict[str, int] = field(default_factory=dict)
    heard: bool = False
    in_flight: int = 0
    pause_s: float = 0.0
    held: dict[str, float] = field(default_factory=dict)
    held_places: int | None = None


@dataclass(frozen=True, slots=True)
class MoneyReport:
    """A worker's money in US dollars.

    Attributes:
        spent_usd: since it began.
        reserved_usd: the most that its requests in flight can cost.
        wanted_usd: what the next request may cost, where it waits for money; else 0.
        worst_usd: the most that one of its requests could cost so far.
    """

    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    wanted_usd: float = 0.0
    worst_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells; `ack` is the number of the lease that it goes by, 0 for none."""

    ack: int
    lanes: tuple[LaneReport, ...]
    money: MoneyReport = field(default_factory=MoneyReport)


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A worker's part of one endpoint.

    Attributes:
        rates: per minute, of every limit that there is.
        whole: the same for the whole run.
        places: the most requests in flight, `None` for no bound.
        known: whether the limits are known, or known to be none.
        pause_s: nothing is to be sent for so long.
        phase: from 0 to 1, another for each worker: the part of a first request that it has saved up already, so that
            many that begin together do not send together.
    """

    rates: dict[str, float] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    places: int | None = None
    known: bool = True
    pause_s: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's part of everything, good for `valid_s` from the moment at which its report was sent.

    Attributes:
        ceiling_usd: what the worker may have spent and reserved in all, `None` where there is no budget.
        more: whether there may be more money later.
        next_s: when the next report is due.
    """

    number: int
    lanes: tuple[LaneLease, ...]
    ceiling_usd: float | None = None
    more: bool = True
    valid_s: float = VALID_S
    next_s: float = 0.5
