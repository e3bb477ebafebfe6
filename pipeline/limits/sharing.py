"""The part of a limit that this run takes, found from what the service says is left of it. Pure.

Programs that use the same account see the same `remaining`, so it serves as a price that all of them pay: each takes
the whole rate while more than two fifths of a bucket are left, and ever less of it as the bucket runs dry. One program
alone stays above and loses nothing. Two drain the bucket until each takes half, whichever came first; n of them settle
at one n-th. Nobody has to know of the others, and nothing is probed (the proportional rule of explicit congestion
control, as XCP and RCP have it, with the level of the account's bucket in the place of a router's queue).

What is in flight is charged for its output only when it is answered, so that limit is followed slowly. And no request
is sent into a bucket that, if it is a strict one, has no room for it now.
"""

import math
from dataclasses import dataclass

__all__ = ["Share"]

_FULL_FROM = 0.4
_TIGHT_FULL_FROM = 0.15
"""Of a bucket that every request empties: how full it is then tells when one came, and hardly of anybody else."""
_LEAST_AT = 0.04
_LEAST = 0.08
"""A dozen programs on one account still share it; more of them live by refusals."""
_MOST_WEIGHT = 0.2
"""One answer is one sample, however long ago the last one came."""
_ROOM = 0.25
_NEGLIGIBLE = 1e-6


@dataclass(slots=True)
class Share:
    """The share of one limit.

    Attributes:
        settle_s: how slowly it follows what is told.
        left: the part of the bucket that is left, smoothed.
        latest: the same as it was last told.
        at: when that was.
    """

    settle_s: float
    left: float = 1.0
    latest: float = 1.0
    at: float = -math.inf

    def told(self, left: float, now: float) -> None:
        """The service said which part of a full bucket is left."""
        weight = min(_MOST_WEIGHT, 1 - math.exp(-max(0.0, now - self.at) / self.settle_s))
        self.left += weight * (min(1.0, left) - self.left)
        self.latest, self.at = left, now

    def factor(self, *, tight: bool = False) -> float:
        """The part of the rate that is to be taken, above 0 and at most 1; `tight` where a request takes it all."""
        slope = (1 - _LEAST) / ((_TIGHT_FULL_FROM if tight else _FULL_FROM) - _LEAST_AT)
        return min(1.0, max(_LEAST, _LEAST + slope * (self.left - _LEAST_AT)))

    def wait_s(self, seconds: float, now: float) -> float:
        """Seconds until a strict bucket, which holds one second of its rate, has room for so many seconds of it."""
        missing = min(1.0, max(_ROOM, seconds)) - self.latest - max(0.0, now - self.at)
        return missing if missing > _NEGLIGIBLE else 0.0
