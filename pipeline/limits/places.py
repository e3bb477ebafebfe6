"""How many requests are in flight: a fixed number, or one that is found. Pure.

Found as TCP finds it (slow start, additive increase, multiplicative decrease): doubled each time a window of answers
came back calm, until the first sign of strain; then one more a window; times 0.7 when the server refuses for load. What
was in flight at that moment belongs to the same event and counts once, however many of it are refused. Latency far
above its floor ends the growth. No growth while places stand empty: an idle window proves nothing.
"""

from dataclasses import dataclass

__all__ = ["Places"]

_START = 4
_BACK_OFF = 0.7
_STRAINED = 3.0


@dataclass(slots=True)
class Places:
    """The number of places for requests in flight.

    Attributes:
        most: never more than this.
        count: places now.
        floor_s: the latency of an unstrained server, drifting up by a thousandth an answer.
        calm: answers of this window so far.
        settling: requests still out that were sent before the last step back.
    """

    most: int
    count: int
    adaptive: bool = True
    slow_start: bool = True
    floor_s: float = float("inf")
    calm: int = 0
    settling: int = 0

    @classmethod
    def fixed(cls, count: int) -> "Places":
        """A number that the user gave."""
        return cls(count, count, adaptive=False)

    @classmethod
    def found(cls, most: int) -> "Places":
        """A number to be found, at most `most`."""
        return cls(most, min(_START, most))

    def answered(self, latency_s: float, in_flight: int) -> None:
        """A request was answered while so many were in flight, itself included."""
        if not self.adaptive:
            return
        self.settling = max(0, self.settling - 1)
        self.floor_s = min(self.floor_s * 1.001, latency_s)
        if in_flight < self.count:
            return
        if latency_s > self.floor_s * _STRAINED and self.count > _START * 4:
            self.slow_start = False
            self.calm = 0
            return
        self.calm += 1
        if self.calm >= self.count:
            self.calm = 0
            self.count = min(self.most, self.count * 2 if self.slow_start else self.count + 1)

    def strained(self, in_flight: int) -> None:
        """The server refused one for load; so many others are still in flight."""
        if not self.adaptive:
            return
        if self.settling > 0:
            self.settling -= 1
            return
        self.settling = in_flight
        self.slow_start = False
        self.calm = 0
        self.count = max(1, int(self.count * _BACK_OFF))
