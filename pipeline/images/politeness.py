"""Manners towards the servers that images come from: so many fetches at one host, and waits as they ask for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from anyio import Semaphore

__all__ = ["Hosts", "retry_after_s"]


class Hosts:
    """Places at hosts: at most `per_host` fetches under way at each. Remembers only hosts that are in use."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._places: dict[str, Semaphore] = {}
        self._users: dict[str, int] = {}

    def __len__(self) -> int:
        """Hosts that are in use or waited for."""
        return len(self._places)

    @asynccontextmanager
    async def place(self, host: str) -> AsyncIterator[None]:
        """Waits for a place at the host and holds it."""
        places = self._places.setdefault(host, Semaphore(self._per_host))
        self._users[host] = self._users.get(host, 0) + 1
        try:
            async with places:
                yield
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._users[host], self._places[host]


def retry_after_s(text: str, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms; `None` where it cannot be read.

    Never negative; a date is taken against `now`.
    """
    bare = text.strip()
    if bare.isascii() and bare.isdigit():
        return float(bare)
    try:
        return max(0.0, (parsedate_to_datetime(text) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
