"""How a run is told to end, and why it did."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from pipeline.errors import PipelineError

__all__ = ["RunControl", "Stop", "watch_deadline", "watch_drain", "watch_signals"]

logger = logging.getLogger(__name__)
_INTERRUPTED = (130, 143)


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
        everything: cancelled when the drain is over, or at a second signal.
        on_stop: told once, when the end begins: it closes the pacer, so that nothing more is sent.
        stop: why, once it has begun.
    """

    drain_seconds: float
    everything: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    on_stop: Callable[[], None] = lambda: None
    stop: Stop | None = None
    stopping: anyio.Event = field(default_factory=anyio.Event)
    _intakes: list[anyio.CancelScope] = field(default_factory=list)

    def intake(self) -> anyio.CancelScope:
        """A scope for work that takes up new items: cancelled as soon as the end begins."""
        scope = anyio.CancelScope()
        self._intakes.append(scope)
        if self.stop is not None:
            scope.cancel()
        return scope

    def end(self, exit_code: int, reason: str) -> None:
        """Begins the end; the first reason stays, but for a signal, which the exit code always tells of."""
        if self.stop is not None:
            if exit_code in _INTERRUPTED:
                self.stop = Stop(exit_code, reason)
            return
        self.stop = Stop(exit_code, reason)
        logger.warning("%s: no new request; awaiting what is in flight, up to %g s", reason, self.drain_seconds)
        self.on_stop()
        for scope in self._intakes:
            scope.cancel()
        self.stopping.set()

    def leave(self, exit_code: int, reason: str) -> None:
        """Says why a run that came to its end has not settled everything."""
        self.stop = self.stop or Stop(exit_code, reason)

    def end_with(self, error: PipelineError, *, sent: bool) -> None:
        """Begins the end because of an error; 2 stands for "nothing was sent", so it is 1 where something was."""
        self.end(1 if error.exit_code == 2 and sent else error.exit_code, str(error))


async def watch_drain(control: RunControl) -> None:
    """Cancels everything once the drain has lasted long enough."""
    await control.stopping.wait()
    await anyio.sleep(control.drain_seconds)
    control.everything.cancel()


async def watch_signals(control: RunControl, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """The first SIGINT or SIGTERM ends the run in good order, the second at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if control.stop is not None and control.stop.exit_code in _INTERRUPTED:
                control.everything.cancel()
                continue
            name = signal.Signals(number).name
            control.end(128 + number, f"{name} received, once more stops at once")


async def watch_deadline(control: RunControl, seconds: float) -> None:
    """Ends the run after `--max-runtime`."""
    await anyio.sleep(seconds)
    control.end(4, f"--max-runtime of {seconds:g} s reached; run again to go on")
