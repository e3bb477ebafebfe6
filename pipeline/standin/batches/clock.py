"""The clock of batches: real time, and as much more as it was moved forward."""

import time

__all__ = ["BatchClock"]


class BatchClock:
    """Seconds since the epoch; it never goes back by itself being moved."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Moves it forward.

        Raises:
            ValueError: the seconds are negative or no number.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"advance_s: found {seconds}; allowed: seconds, 0 or more")
        self._ahead_s += seconds
