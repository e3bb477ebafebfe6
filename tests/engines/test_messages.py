"""The engine of the messages mode: its stages are plain stand-ins here, so that every interleaving can be made."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages
from pipeline.engines.messages import run_messages
from pipeline.engines.selection import Keyed
from pipeline.engines.totals import Totals
from pipeline.errors import ErrorType, ImageError, ManifestError, OutputError, PipelineError, RunStoppedError
from pipeline.limits.pacer import BudgetReachedError, Pacer
from pipeline.records import ImageRecord, Item, Outcome
from pipeline.settings import SettingsLimits

pytestmark = pytest.mark.anyio
HANG_S = 20
"""Bounds a hang, and is no expectation."""


@dataclass
class World:
    """Stages that do as they are told, and what happened in them.

    Attributes:
        prepare: called with an item; may wait, or raise.
        ask: likewise, after it was taken to be asked.
        settled: by item, how often.
    """

    count: int
    places: int = 4
    preparers: int = 3
    prepare: Callable[[Item], Any] = lambda _: None
    ask: Callable[[Item], Any] = lambda _: None
    settle_error: PipelineError | None = None
    manifest_error: ManifestError | None = None
    batch: int = 3
    totals: Totals = field(default_factory=Totals)
    control: RunControl = field(default_factory=lambda: RunControl(5.0))
    settled: Counter[str] = field(default_factory=Counter)
    failed: set[str] = field(default_factory=set)
    prepared: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def stages(self) -> Stages:
        """The stages that the engine runs."""
        limits = SettingsLimits(
            requests_per_minute="off",
            input_tokens_per_minute="off",
            output_tokens_per_minute="off",
            concurrency=self.places,
        )
        pacer = Pacer(limits)
        self.control.on_stop = pacer.close
        parts: dict[str, Any] = {"preparer": _Preparer(self), "captioner": _Captioner(self), "ledger": _Ledger(self)}
        return Stages(
            batches=self._batches(),
            pacer=pacer,
            totals=self.totals,
            preparers=self.preparers,
            senders=self.places,
            **parts,
        )

    def _batches(self) -> Iterator[list[Keyed]]:
        for start in range(0, self.count, self.batch):
            ids = [f"item-{number}" for number in range(start, min(start + self.batch, self.count))]
            self.totals.total += len(ids)
            yield [(name.encode(), Item(name, ())) for name in ids]
        if self.manifest_error is not None:
            raise self.manifest_error
        self.totals.complete = True

    async def run(self) -> None:
        """The engine, from start to end."""
        with anyio.fail_after(HANG_S):
            await run_messages(self.stages(), self.control)

    def is_sound(self) -> None:
        """Nothing is settled twice, and what was counted is what was settled."""
        assert set(self.settled.values()) <= {1}
        assert self.totals.succeeded + self.totals.failed == len(self.settled)
        assert self.totals.failed == len(self.failed)


class _Preparer:
    def __init__(self, world: World) -> None:
        self.world = world

    async def prepare(self, key: bytes, item: Item) -> Any:
        assert key == item.item_id.encode()
        waiting = self.world.prepare(item)
        if waiting is not None:
            await waiting
        self.world.prepared.append(item.item_id)
        return item


class _Captioner:
    def __init__(self, world: World) -> None:
        self.world = world

    async def caption(self, item: Item) -> Outcome:
        self.world.asked.append(item.item_id)
        self.world.at_once += 1
        self.world.most_at_once = max(self.world.most_at_once, self.world.at_once)
        error = None
        try:
            waiting = self.world.ask(item)
            if waiting is not None:
                await waiting
        except ImageError as caught:
            error = caught
        finally:
            self.world.at_once -= 1
        outcome = Outcome(item, (ImageRecord("x"),), error=error)
        with anyio.CancelScope(shield=True):
            await _Ledger(self.world).settle(outcome, key=item.item_id.encode())
        return outcome


class _Ledger:
    def __init__(self, world: World) -> None:
        self.world = world

    async def settle(self, outcome: Outcome, *, key: bytes) -> None:
        assert key == outcome.item.item_id.encode()
        await anyio.lowlevel.checkpoint()
        if self.world.settle_error is not None:
            raise self.world.settle_error
        self.world.settled[outcome.item.item_id] += 1
        if outcome.error is not None:
            self.world.failed.add(outcome.item.item_id)


def fault(item: Item) -> None:
    """This item fails."""
    raise ImageError(ErrorType.IMAGE_MISSING, f"{item.item_id}: gone")


async def test_every_item_is_taken_through_every_stage_once() -> None:
    """More items than any buffer, batch or number of stages."""
    world = World(200)
    await world.run()
    names = {f"item-{number}" for number in range(200)}
    assert world.settled == dict.fromkeys(names, 1)
    assert sorted(world.asked) == sorted(names)
    assert (world.totals.succeeded, world.totals.pending, world.control.stop) == (200, 0, None)
    assert world.most_at_once <= world.places


async def test_buffers_are_bounded_while_nothing_is_answered() -> None:
    """What is prepared ahead does not depend on the manifest: memory is that of what is in work."""
    release = anyio.Event()
    world = World(5000, batch=500, places=2, preparers=3, ask=lambda _: release.wait())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        while len(world.asked) < 2:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert len(world.prepared) == 2 + 2 * 3 + 3  # asked, in the buffer, and in the hands of the preparers
        assert world.totals.total == 500
        release.set()
    assert world.totals.succeeded == 5000


async def test_an_item_that_fails_before_it_is_asked_is_settled_as_failed() -> None:
    """It is never asked, and its neighbours do not notice."""
    world = World(9, prepare=lambda item: fault(item) if item.item_id == "item-4" else None)
    await world.run()
    assert world.failed == {"item-4"}
    assert "item-4" not in world.asked
    assert (world.totals.succeeded, world.totals.failed) == (8, 1)
    assert world.totals.failures_by_type == {"image_missing": 1}


async def test_the_last_items_failure_ends_the_run() -> None:
    """Whichever stage it fails in, and whatever the others do meanwhile: 200 runs end."""
    chance = random.Random(1)
    for _ in range(200):
        count = chance.randint(1, 7)
        stage, last = chance.choice(["prepare", "ask"]), f"item-{count - 1}"

        def slow(item: Item, fails: bool, last: str = last) -> Any:
            if fails and item.item_id == last:
                fault(item)
            return pause(chance.randint(0, 3))

        world = World(
            count,
            places=chance.randint(1, 4),
            preparers=chance.randint(1, 4),
            batch=chance.randint(1, 3),
            prepare=lambda item, stage=stage, slow=slow: slow(item, stage == "prepare"),
            ask=lambda item, stage=stage, slow=slow: slow(item, stage == "ask"),
        )
        await world.run()
        assert world.failed == {last}
        assert len(world.settled) == count
        assert (world.totals.succeeded, world.totals.pending) == (count - 1, 0)


async def pause(rounds: int) -> None:
    """Lets the others go first, so many times."""
    for _ in range(rounds):
        await anyio.lowlevel.checkpoint()


async def test_an_item_that_is_prepared_while_the_run_ends_stays_open() -> None:
    """It is neither asked nor settled: the next run takes it up. What was asked is awaited and kept."""
    asking, preparing, release = anyio.Event(), anyio.Event(), anyio.Event()

    async def prepare(item: Item) -> None:
        if item.item_id != "item-0":
            preparing.set()
            with anyio.CancelScope(shield=True):  # as a worker thread that decodes: it cannot be stopped
                await release.wait()

    async def ask(item: Item) -> None:
        asking.set()
        await release.wait()

    world = World(6, places=2, preparers=2, prepare=prepare, ask=ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        await asking.wait()
        await preparing.wait()
        world.control.end(143, "SIGTERM")
        release.set()
    assert world.asked == ["item-0"]
    assert world.settled == {"item-0": 1}
    assert world.totals.pending == world.totals.total - 1 > 0


async def test_an_item_that_fails_while_the_run_ends_is_settled_as_failed() -> None:
    """Its failure is known, and costs nothing to write down."""
    preparing, release = anyio.Event(), anyio.Event()

    async def prepare(item: Item) -> None:
        preparing.set()
        with anyio.CancelScope(shield=True):
            await release.wait()
        fault(item)

    world = World(1, prepare=prepare)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        await preparing.wait()
        world.control.end(4, "enough")
        release.set()
    assert world.failed == {"item-0"}
    assert (world.totals.failed, world.totals.pending) == (1, 0)


async def test_cancelling_everything_settles_nothing_twice() -> None:
    """At any moment, after any drain, in 200 runs: each item is settled once or not at all, and all of them end."""
    chance = random.Random(2)
    for _ in range(200):
        world = World(
            chance.randint(1, 30),
            places=chance.randint(1, 5),
            preparers=chance.randint(1, 4),
            prepare=lambda item: fault(item) if chance.random() < 0.1 else pause(chance.randint(0, 4)),
            ask=lambda item: fault(item) if chance.random() < 0.1 else pause(chance.randint(0, 6)),
        )
        drains, rounds = chance.random() < 0.5, chance.randint(0, 60)

        async def cancel(world: World = world, drains: bool = drains, rounds: int = rounds) -> None:
            await pause(rounds)
            if drains:
                world.control.end(143, "SIGTERM")
                await pause(rounds // 4)
            world.control.everything.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            await world.run()
        world.is_sound()


@pytest.mark.parametrize(
    ("error", "code"),
    [(RunStoppedError("key refused"), 3), (BudgetReachedError(), 4), (OutputError("disk full"), 1)],
)
async def test_what_stops_one_sender_stops_the_run_and_keeps_what_is_in_flight(error: Exception, code: int) -> None:
    """No new item is asked after it; the reason is told to the control, and nothing is raised."""
    asked, release = anyio.Event(), anyio.Event()

    async def ask(item: Item) -> None:
        if item.item_id == "item-0":
            await asked.wait()
            release.set()
            raise error
        asked.set()
        await release.wait()

    world = World(500, places=2, ask=ask)
    await world.run()
    assert world.control.stop is not None
    assert world.control.stop.exit_code == code
    assert "item-0" not in world.settled
    assert world.settled["item-1"] == 1
    assert len(world.asked) <= 2 + world.places
    world.is_sound()


async def test_a_failure_that_cannot_be_written_stops_the_run() -> None:
    """A full disk, found while an image that is missing is settled: nothing was sent, so the code is 2."""
    world = World(50, prepare=fault, settle_error=OutputError("disk full"))
    await world.run()
    assert world.control.stop is not None
    assert (world.control.stop.exit_code, world.control.stop.reason) == (2, "disk full")
    assert not world.settled
    assert world.totals.failed == 0


@pytest.mark.parametrize(("sent", "code"), [(0, 2), (3, 1)])
async def test_a_manifest_that_is_damaged_further_on_ends_the_run(sent: int, code: int) -> None:
    """Rows before the damage that are in flight are kept; the code says whether anything was sent."""
    world = World(9, manifest_error=ManifestError("m.csv:10: torn"))
    world.totals.sent = sent
    await world.run()
    assert world.control.stop is not None
    assert (world.control.stop.exit_code, world.control.stop.reason) == (code, "m.csv:10: torn")
    world.is_sound()


async def test_after_an_early_end_the_rest_is_counted() -> None:
    """So that the summary can say how much waits."""
    world = World(400, batch=10, ask=lambda _: world.control.end(4, "enough"))
    await world.run()
    assert world.totals.total == 400
    assert world.totals.complete
    assert world.totals.pending == 400 - len(world.settled)


async def test_a_fault_of_the_program_is_not_hidden() -> None:
    """An error that nobody foresaw ends the run with it, and every stage ends too."""

    def bug(item: Item) -> None:
        raise ZeroDivisionError(item.item_id)

    world = World(50, ask=bug)
    with pytest.raises(ExceptionGroup) as raised:
        await world.run()
    assert raised.group_contains(ZeroDivisionError)
