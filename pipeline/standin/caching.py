"""Prompt caching: what of a prompt is read from the cache, what is written to it, and when others can read that.

An entry stands for a prefix that ended in a marked block. It can be read only once the first response has begun, so
requests sent at once all miss. Its life counts from the start of the request that wrote or last read it. A prefix
below the model's minimum is neither written nor read, without an error.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.standin.prefix import Step

__all__ = ["CacheUse", "PromptCache"]

_LIVES_S = {"5m": 300.0, "1h": 3600.0}
_LOOKBACK = 20
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The input of one request, split as it is billed.

    Attributes:
        uncached: tokens after the last marked block.
        read: tokens that a cached prefix already held.
        written_5m: tokens written for five minutes.
        written_1h: tokens written for an hour.
        entries: digest, life and start of what becomes readable once the response has begun.
    """

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0
    entries: tuple[tuple[bytes, str, float], ...] = field(default=(), repr=False)

    @property
    def prompt(self) -> int:
        """The whole prompt."""
        return self.uncached + self.read + self.written_5m + self.written_1h

    @property
    def limited(self) -> int:
        """What counts against the input limit: everything but reads."""
        return self.prompt - self.read


@dataclass(slots=True)
class _Entry:
    life_s: float
    ends: float


class PromptCache:
    """The cached prefixes of one server, for any thread.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._lock = threading.Lock()

    def look_up(self, steps: Sequence[Step], minimum: int) -> CacheUse:
        """What a request that starts now reads and will write; renews what it reads."""
        total = max(1, steps[-1].tokens)
        marked = [at for at, step in enumerate(steps) if step.life is not None and step.tokens >= minimum]
        if not marked:
            return CacheUse(total)
        with self._lock:
            hit, now = self._renewed(steps, marked)
        read = steps[hit].tokens if hit >= 0 else 0
        new = [at for at in marked if at > hit]
        hour = max((steps[at].tokens for at in new if steps[at].life == "1h"), default=read)
        end = max((steps[at].tokens for at in new), default=read)
        entries = tuple((steps[at].digest, str(steps[at].life), now) for at in new)
        return CacheUse(total - end, read, end - hour, hour - read, entries)

    def _renewed(self, steps: Sequence[Step], marked: Sequence[int]) -> tuple[int, float]:
        """The last step that is cached, -1 for none, and now; everything up to it lives on from now."""
        now = self._clock()
        hit = max((self._longest(steps, at, now) for at in marked), default=-1)
        for at in [*marked, hit]:
            entry = self._live(steps[at].digest, now) if 0 <= at <= hit else None
            if entry is not None:
                entry.ends = now + entry.life_s
        return hit, now

    def response_begun(self, use: CacheUse) -> None:
        """Makes what a request wrote readable."""
        with self._lock:
            self._write(use)

    def _write(self, use: CacheUse) -> None:
        if len(self._entries) > _MOST_ENTRIES:
            now = self._clock()
            self._entries = {digest: entry for digest, entry in self._entries.items() if entry.ends > now}
        for digest, life, started in use.entries:
            known = self._entries.get(digest)
            ends = started + _LIVES_S[life]
            if known is None or ends > known.ends:
                self._entries[digest] = _Entry(_LIVES_S[life], ends)

    def _longest(self, steps: Sequence[Step], at: int, now: float) -> int:
        """The last step up to a marked one that is cached, at most twenty back; -1 for none."""
        for each in range(at, max(-1, at - _LOOKBACK), -1):
            if self._live(steps[each].digest, now) is not None:
                return each
        return -1

    def _live(self, digest: bytes, now: float) -> _Entry | None:
        entry = self._entries.get(digest)
        return entry if entry is not None and entry.ends > now else None
