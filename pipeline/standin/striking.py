"""Which fault strikes a request: each place has its own count of requests and its own first moment."""

import time
from collections.abc import Callable, Sequence

from pipeline.standin.faults import Fault

__all__ = ["Strikes"]


class Strikes:
    """The faults of one server, asked from any thread.

    Args:
        faults: those in force.
        clock: seconds that never go back.
    """

    def __init__(self, faults: Callable[[], Sequence[Fault]], clock: Callable[[], float] = time.monotonic) -> None:
        self._faults = faults
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._first_at: dict[str, float] = {}

    def next(self, place: str) -> Fault | None:
        """Counts one more request to a place; what strikes it. A fault with `match` does not."""
        self._counts[place] = self._counts.get(place, 0) + 1
        return self.of(place, self._counts[place], b"")

    def of(self, place: str, number: int, body: bytes) -> Fault | None:
        """What strikes the request of this number."""
        now = self._clock()
        elapsed = now - self._first_at.setdefault(place, now)
        return next((fault for fault in self._faults() if fault.strikes(number, body, elapsed, place)), None)
