"""The prompt cache kept warm: who waits for whom, in virtual time."""

import anyio
import pytest
from support.virtual_time import now, run_virtual

from pipeline.engines.warming import LIFE_S, CacheWarmth

ANSWER_S = 2.0


class Asker:
    """Requests that take two seconds each; those whose number is in `failing` fail."""

    def __init__(self, warmth: CacheWarmth, *failing: int) -> None:
        self._warmth = warmth
        self._failing = failing
        self.started: list[float] = []

    async def ask(self) -> None:
        """One request."""

        async def answer() -> None:
            self.started.append(now())
            number = len(self.started)
            await anyio.sleep(ANSWER_S)
            if number in self._failing:
                raise ValueError

        try:
            await self._warmth.ask(answer)
        except ValueError:
            pass  # the item failed; the next one asks

    async def ask_together(self, count: int) -> list[float]:
        """When each of so many requests that want to start now was sent."""
        begun, before = now(), len(self.started)
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(self.ask)
        return [moment - begun for moment in self.started[before:]]


def test_the_others_wait_for_the_first_and_then_go_together() -> None:
    """One writes the prefix; what comes later finds the cache warm."""

    async def main() -> None:
        asker = Asker(CacheWarmth(is_cached=True))
        assert await asker.ask_together(5) == [0, 2, 2, 2, 2]
        assert await asker.ask_together(3) == [0, 0, 0]

    run_virtual(main)


def test_without_a_cache_nobody_waits() -> None:
    """Nothing is marked, so there is nothing to warm."""

    async def main() -> None:
        assert await Asker(CacheWarmth(is_cached=False)).ask_together(4) == [0, 0, 0, 0]

    run_virtual(main)


def test_a_first_request_that_fails_leaves_its_place_to_the_next() -> None:
    """One at a time, until one was answered."""

    async def main() -> None:
        assert await Asker(CacheWarmth(is_cached=True), 1, 2).ask_together(5) == [0, 2, 4, 6, 6]

    run_virtual(main)


@pytest.mark.parametrize(("pause_s", "together"), [(LIFE_S / 2, [0, 0, 0]), (LIFE_S, [0, 2, 2])])
def test_a_long_pause_lets_the_cache_grow_cold(pause_s: float, together: list[float]) -> None:
    """An entry lives five minutes from the start of the request that last used it."""

    async def main() -> None:
        asker = Asker(CacheWarmth(is_cached=True))
        await asker.ask()
        await anyio.sleep(pause_s)
        assert await asker.ask_together(3) == together

    run_virtual(main)


def test_use_keeps_it_warm() -> None:
    """Each request renews the entry, however long the run goes on."""

    async def main() -> None:
        asker = Asker(CacheWarmth(is_cached=True))
        await asker.ask()
        for _ in range(5):
            await anyio.sleep(LIFE_S / 2)
            assert await asker.ask_together(2) == [0, 0]

    run_virtual(main)
