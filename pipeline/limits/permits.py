"""Leave to send one attempt, and how attempts end. Pure: whoever gave the permit is told of its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.limits.meters import Amounts, Need
from pipeline.records import Usage

__all__ = ["End", "Permit", "Tells"]


class Tells(StrEnum):
    """What the end of an attempt tells of the service."""

    ANSWERING = "answering"
    FAILING = "failing"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended.

    Attributes:
        tells: whether the service answers.
        cost_usd: what it cost, or may have cost.
        usage: of a 200 that said it.
        headers: of an answer.
        latency_s: of a 200.
        pause_s: how long a 429 asks everybody to wait.
        ramp: the 429 says that usage grows too fast.
        retire: the endpoint refused what no retry can mend, and takes nothing more.
    """

    tells: Tells
    cost_usd: float
    usage: Usage | None = None
    headers: Mapping[str, str] | None = None
    latency_s: float | None = None
    pause_s: float | None = None
    ramp: bool = False
    retire: bool = False


class Permit:
    """Leave to send one attempt; ended exactly once, by one of its methods.

    Attributes:
        need: what was asked for.
        amounts: what was reserved of the limits.
        probe: the number of the breaker's probe that it is, 0 for none.
        lane: which of the endpoints it is for, from 0.
        asker: whose request it is.
        tried: attempts before it.
        sent_at: when it was given.
        in_outage: once it has ended: whether it failed in an outage, which is no fault of the item's.
    """

    __slots__ = ("_ended", "_told", "amounts", "asker", "in_outage", "lane", "need", "probe", "sent_at", "tried")

    def __init__(self, ended: Callable[["Permit", End], bool], need: Need, amounts: Amounts, probe: int) -> None:
        self._told = ended
        self._ended = False
        self.need = need
        self.amounts = amounts
        self.probe = probe
        self.lane = self.asker = self.tried = 0
        self.sent_at = 0.0
        self.in_outage = False

    def answered(self, usage: Usage | None, cost_usd: float, headers: Mapping[str, str], latency_s: float) -> None:
        """A 200 came, and cost so much; without `usage`, what was reserved of the limits stands."""
        self._end(End(Tells.ANSWERING, cost_usd, usage, headers, latency_s))

    def refused(
        self,
        headers: Mapping[str, str],
        *,
        limited_s: float | None,
        overloaded: bool,
        ramp: bool = False,
        retire: bool = False,
    ) -> None:
        """Any other status: nothing was billed. `limited_s` is how long a 429 asks everybody to wait."""
        tells = Tells.FAILING if overloaded else Tells.ANSWERING
        self._end(End(tells, 0.0, headers=headers, pause_s=limited_s, ramp=ramp, retire=retire))

    def lost(self, *, overloaded: bool) -> None:
        """No answer came: it may have been billed. `overloaded` where the service was at fault, not we."""
        self._end(End(Tells.FAILING if overloaded else Tells.NOTHING, self.need.worst_usd))

    def unsent(self, *, overloaded: bool = True) -> None:
        """The request never left: nothing was spent. `overloaded` as in `lost`."""
        self._end(End(Tells.FAILING if overloaded else Tells.NOTHING, 0.0))

    def _end(self, end: End) -> None:
        if self._ended:
            raise RuntimeError("a permit ends once")
        self._ended = True
        self.in_outage = self._told(self, end)
