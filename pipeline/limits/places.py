"""How many requests are in flight: a fixed number, or one that is found. Pure.

Slow start: doubled as long as a doubling brings at least a fifth more throughput, which by Little's law is seen in the
mean latency of a window of answers. From there on trials: a quarter more, a quarter less, in turn. What is more is kept
while most of it becomes throughput; what is less is kept where it costs hardly any. So the number stays near the knee,
and follows a server that becomes slower or faster. A refusal for load takes it back to 0.7; refusals of one moment
belong to the same event and count once. No growth while places stand empty: an idle window proves nothing. A service
that announces its rate limits is paced by these: its latency and its faults say nothing of the places, which only have
to be enough.
"""

from dataclasses import dataclass

__all__ = ["Places"]

_START = 4
_START_PACED = 16
_LEAST_WINDOW = 8
_BACK_OFF = 0.7
_WORTH = 2 / 1.2
"""A doubling is worth it while latency grows by less than this: a fifth more throughput."""
_TRIAL = 1.25
_LEAST_TRIAL_WINDOW = 48
_KEPT_UP = 0.6
_KEPT_DOWN = 0.65
"""Of the change in number, the part that may be latency (up) or must have been (down) for a trial to be kept."""


@dataclass(slots=True)
class Places:
    """The number of places for requests in flight.

    Attributes:
        most: never more than this.
        count: places now.
        paced: the service announces rate limits.
        before: places before the trial or doubling that is under way.
        before_s: mean latency of a window then; infinite while it is measured.
        upward: whether the next trial is of more.
        calm: answers of this window so far.
        total_s: their latencies together.
        settling: requests still out that were sent before the last step.
    """

    most: int
    count: int
    adaptive: bool = True
    slow_start: bool = True
    paced: bool = False
    before: int = 0
    before_s: float = float("inf")
    upward: bool = True
    calm: int = 0
    total_s: float = 0.0
    settling: int = 0

    @classmethod
    def fixed(cls, count: int) -> "Places":
        """A number that the user gave."""
        return cls(count, count, adaptive=False)

    @classmethod
    def found(cls, most: int) -> "Places":
        """A number to be found, at most `most`."""
        return cls(most, min(_START, most))

    def announced(self) -> None:
        """The service tells its rate limits: from now on they pace, and not its latency."""
        if self.adaptive and not self.paced:
            self.paced = True
            self.count = max(self.count, min(_START_PACED, self.most))

    def answered(self, latency_s: float, in_flight: int) -> None:
        """A request was answered while so many were in flight, itself included."""
        if not self.adaptive:
            return
        if self.settling > 0:
            self.settling -= 1
            return
        if in_flight < self.count:
            return
        self.calm += 1
        self.total_s += latency_s
        least = 0 if self.paced else _LEAST_WINDOW if self.slow_start else _LEAST_TRIAL_WINDOW
        if self.calm >= max(self.count, least):
            self._judge(self.total_s / self.calm)

    def strained(self, in_flight: int) -> None:
        """The server refused or failed one for load; so many others are still in flight."""
        if not self.adaptive:
            return
        if self.settling > 0:
            self.settling -= 1
            return
        self.slow_start, self.before_s = False, float("inf")
        self._step(int(self.count * _BACK_OFF), in_flight)

    def restore(self, count: int) -> None:
        """What was taken for load was an outage: so many places as before it."""
        if self.adaptive:
            self.slow_start, self.before_s = True, float("inf")
            self._step(count, 0)

    def _judge(self, mean_s: float) -> None:
        """A window is full."""
        if self.paced:
            self._step(self.count * 2 if self.slow_start else self.count + 1, 0)
        elif self.slow_start and mean_s <= self.before_s * _WORTH:
            self.before_s = mean_s
            self._step(self.count * 2, self.count - 1)
        elif self.slow_start:
            self.slow_start, self.before_s = False, float("inf")
            self._step(self.count // 2, self.count - 1)
        elif self.before_s == float("inf"):
            self._try(mean_s)
        else:
            self._end_trial(mean_s)

    def _try(self, mean_s: float) -> None:
        self.before, self.before_s = self.count, mean_s
        more, less = max(self.count + 1, int(self.count * _TRIAL)), min(self.count - 1, int(self.count / _TRIAL))
        self._step(more if self.upward else less, self.count - 1)
        self.upward = not self.upward

    def _end_trial(self, mean_s: float) -> None:
        change = self.count / self.before - 1
        part = _KEPT_UP if change > 0 else _KEPT_DOWN
        kept = mean_s <= self.before_s * (1 + part * change)
        self.before_s = float("inf")
        self._step(self.count if kept else self.before, self.count - 1)

    def _step(self, count: int, settling: int) -> None:
        self.count, self.settling = min(self.most, max(1, count)), settling
        self.calm, self.total_s = 0, 0.0
