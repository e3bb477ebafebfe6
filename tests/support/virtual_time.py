"""An event loop whose time jumps: hours of waiting pass in no time, and a deadlock is an error at once."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

__all__ = ["now", "run_virtual"]

T = TypeVar("T")


class _JumpingLoop(asyncio.SelectorEventLoop):
    """Where a loop would sleep, it moves its own clock; for code that does no I/O."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.moment


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: _JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for ever")
        if not ready and timeout is not None:
            self._loop.moment += max(0.0, timeout)
        return ready


def now() -> float:
    """Seconds of the virtual time, from 0 at the start of `run_virtual`."""
    return asyncio.get_running_loop().time()


def run_virtual(main: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Runs a coroutine function to its end in virtual time.

    Raises:
        RuntimeError: every task waits, and nothing will ever wake one.
    """
    return anyio.run(main, *arguments, backend_options={"loop_factory": _JumpingLoop})
