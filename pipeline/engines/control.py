"""How a run is told to end, and why it did."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

__all__ = ["RunControl", "Stop", "watch_deadline", "watch_signals"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends before its manifest does: the exit code, and one line for people."""

    exit_code: int
    reason: str


@dataclass(slots=True)
class RunControl:
    """Ends a run in good order: no new request, what is in flight is awaited, then everything is cancelled.

    Attributes:
        drain_seconds: how long what is in flight is awaited.
        intake: cancelled at once: no new item is read or prepared.
        everything: cancelled when the drain is over, or at a second signal.
        on_stop: told once, when the end begins.
        stop: why, once it has begun.
    """

    drain_seconds: float
    on_stop: Callable[[], None]
    intake: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    everything: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    stop: Stop | None = None
    stopping: anyio.Event = field(default_factory=anyio.Event)

    def end(self, exit_code: int, reason: str) -> None:
        """Begins the end; the first reason stays."""
        if self.stop is None:
            self.stop = Stop(exit_code, reason)
            self.on_stop()
            self.intake.cancel()
            self.stopping.set()

    async def watch_drain(self) -> None:
        """Cancels everything once the drain has lasted long enough."""
        await self.stopping.wait()
        await anyio.sleep(self.drain_seconds)
        self.everything.cancel()


async def watch_signals(control: RunControl) -> None:
    """The first SIGINT or SIGTERM ends the run in good order, the second at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if control.stop is not None and control.stop.exit_code in (130, 143):
                control.everything.cancel()
                return
            name = signal.Signals(number).name
            if control.stop is None:
                control.end(128 + number, f"{name}: waiting for what is in flight; once more stops at once")
            else:
                control.stop = Stop(128 + number, name)


async def watch_deadline(control: RunControl, seconds: float) -> None:
    """Ends the run after `--max-runtime`."""
    await anyio.sleep(seconds)
    control.end(4, f"--max-runtime of {seconds:g} s reached; run again to go on")
