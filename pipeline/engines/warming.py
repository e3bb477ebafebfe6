"""The prompt cache kept warm: one request writes the shared prefix, the others wait for it and read.

An entry can be read only once the first response to the request that wrote it has begun (the service's page on prompt
caching), so requests that are sent at once would all pay for a write. A pause of the run longer than an entry lives
makes the next request the first again.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

__all__ = ["CacheWarmth"]

LIFE_S = 300.0
_MARGIN_S = 30.0

Result = TypeVar("Result")


class CacheWarmth:
    """The warmth of one prefix; by default nothing is cached and nobody waits.

    Args:
        is_cached: whether requests mark a prefix at all.
    """

    def __init__(self, *, is_cached: bool) -> None:
        self._is_cached = is_cached
        self._warm_until = 0.0
        self._first = anyio.Lock()

    async def ask(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Asks at once where the cache is warm; else one after the other, until one was answered."""
        if not self._is_cached:
            return await ask()
        if self._is_warm():
            return await self._asked(ask)
        async with self._first:
            if not self._is_warm():
                return await self._asked(ask)
        return await self._asked(ask)

    def _is_warm(self) -> bool:
        return anyio.current_time() < self._warm_until

    async def _asked(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        started = anyio.current_time()
        result = await ask()
        self._warm_until = max(self._warm_until, started + LIFE_S - _MARGIN_S)  # an answer renews it from its start
        return result
