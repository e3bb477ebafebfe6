"""How a run is told to end."""

import os
import signal

import anyio
import pytest

from pipeline.engines.control import RunControl, watch_deadline, watch_drain, watch_signals
from pipeline.errors import ManifestError, OutputHeldError, RunStoppedError

pytestmark = pytest.mark.anyio


async def test_the_first_reason_to_end_stays() -> None:
    """A budget that is reached and then an error that follows from it leave the budget as the reason."""
    control = RunControl(1.0)
    control.end(4, "budget")
    control.end(3, "later")
    assert control.stop is not None
    assert (control.stop.exit_code, control.stop.reason) == (4, "budget")


async def test_a_signal_during_a_drain_decides_the_exit_code() -> None:
    """Whoever sends a signal is told by the exit code that it was heard."""
    control = RunControl(1.0)
    control.end(4, "budget")
    control.end(143, "SIGTERM")
    assert control.stop is not None
    assert control.stop.exit_code == 143


async def test_ending_cancels_intake_and_tells_once() -> None:
    """New work stops at once, and the pacer is closed exactly once."""
    told: list[str] = []
    control = RunControl(1.0, on_stop=lambda: told.append("closed"))
    async with anyio.create_task_group() as tasks:
        reached = anyio.Event()

        async def take_up() -> None:
            with control.intake() as scope:
                reached.set()
                await anyio.sleep_forever()
            assert scope.cancelled_caught

        tasks.start_soon(take_up)
        await reached.wait()
        control.end(4, "enough")
        control.end(4, "enough")
    assert told == ["closed"]


async def test_intake_that_begins_after_the_end_is_cancelled_from_the_start() -> None:
    """A stage that starts late takes up nothing."""
    control = RunControl(1.0)
    control.end(4, "enough")
    with control.intake() as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("error", "sent", "code"),
    [
        (ManifestError("torn"), False, 2),
        (ManifestError("torn"), True, 1),
        (RunStoppedError("key"), True, 3),
        (OutputHeldError("held"), False, 75),
    ],
)
async def test_two_stands_for_nothing_sent(error: ManifestError, sent: bool, code: int) -> None:
    """An error whose code says that nothing was sent ends with 1 where something was."""
    control = RunControl(1.0)
    control.end_with(error, sent=sent)
    assert control.stop is not None
    assert control.stop.exit_code == code


async def test_everything_is_cancelled_when_the_drain_is_over() -> None:
    """What is in flight is awaited for `drain_seconds` and no longer."""
    control = RunControl(0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_drain, control)
        with control.everything:
            control.end(143, "SIGTERM")
            await anyio.sleep_forever()
        assert control.everything.cancelled_caught


async def test_a_deadline_ends_the_run_with_4() -> None:
    """`--max-runtime` begins the end in good order."""
    control = RunControl(1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_deadline, control, 0.0)
        await control.stopping.wait()
    assert control.stop is not None
    assert control.stop.exit_code == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_first_signal_drains_and_the_second_stops_at_once(number: signal.Signals, code: int) -> None:
    """Real signals to this process: one begins the end, one more cancels everything."""
    control = RunControl(3600.0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch_signals, control)
        with control.everything:
            os.kill(os.getpid(), number)
            await control.stopping.wait()
            assert not control.everything.cancel_called
            os.kill(os.getpid(), number)
            await anyio.sleep_forever()
        assert control.everything.cancelled_caught
        tasks.cancel_scope.cancel()
    assert control.stop is not None
    assert control.stop.exit_code == code
