"""Questions written into batches: the body is what the service wants, its limits hold, and money is kept count of."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, recovered
from support.small_disks import mounted_disk

from pipeline.api.batches import MAX_BYTES, MAX_ITEMS
from pipeline.api.client import Question
from pipeline.engines.batches.bodies import BuiltBatch
from pipeline.engines.batches.packing import Packer, custom_id
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import OutputError
from pipeline.limits.budget import Budget
from pipeline.limits.meters import Need
from pipeline.limits.pacer import BudgetReachedError, PacerClosedError
from pipeline.prompts.plan import TurnPlan
from pipeline.records import Item
from pipeline.store import batches as book
from pipeline.store.batch_records import BatchItem, Packed, Target
from pipeline.store.identity import RunIdentity
from pipeline.store.journal import Journal, item_key
from pipeline.store.ledger import DatasetSettings, Ledger, open_ledger

pytestmark = pytest.mark.anyio
MARK = "f" * 64
TARGET = Target("http://here", MARK, "claude-haiku-4-5")
LINE_BYTES = 100
"""The most that stands around the params of a request."""


@dataclass
class Tray:
    """Where whole batches are put."""

    refused_bytes: int | None = None
    batches: list[BuiltBatch] = field(default_factory=list)

    def put(self, batch: BuiltBatch) -> None:
        """Takes one."""
        self.batches.append(batch)

    async def room(self) -> None:
        """There always is."""
        await checkpoint()


@dataclass(frozen=True)
class Desk:
    """A packer with all that it works with."""

    packer: Packer
    tray: Tray
    budget: Budget
    ledger: Ledger
    journal: Journal
    folder: Path

    async def add(self, name: str, *, reuse: bytes | None = None, **question: Any) -> bool:
        """Adds the question of an item."""
        return await self.packer.add(ready(name), asked(name, **question), reuse)

    async def kept(self, name: str) -> BatchItem:
        """What the journal has of an item."""
        found = await self.ledger.ask(lambda journal: book.standing_of(journal, item_key(name), MARK))
        assert isinstance(found, BatchItem)
        return found


@asynccontextmanager
async def desk(
    output: Path, limit_usd: float | None = None, *, folder: Path | None = None, **options: Any
) -> AsyncIterator[Desk]:
    """A packer over a real ledger."""
    tray, budget = Tray(options.pop("refused_bytes", None)), Budget(limit_usd)
    with recovered(output) as (journal, _):
        async with open_ledger(journal, DatasetSettings(output), RunIdentity("run-1", MARK)) as ledger:
            place = folder or output / "_state" / "batches"
            packer = Packer(ledger, TARGET, place, budget, tray, **options)
            yield Desk(packer, tray, budget, ledger, journal, place)


def ready(name: str) -> ReadyItem:
    """An item about no picture."""
    return ReadyItem(item_key(name), Item(name, ()), (), TurnPlan(("Describe.",), ((),)))


def asked(
    name: str, text: str = "Describe.", *, turn: int = 1, worst_usd: float = 1.0, attempts_before: int = 0
) -> Question:
    """Its question; `worst_usd` is the price of a message, of which a batch costs half."""
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    return Question(name, turn, body, Need(0, 0, 1, worst_usd), attempts_before)


@given(
    st.lists(st.text(max_size=300) | st.integers(0, 3000).map("x".__mul__), min_size=1, max_size=12),
    st.none() | st.integers(300, 8000),
    st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_bodies_are_the_json_that_the_service_wants_whatever_the_sizes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], refused_bytes: int | None, together: bool
) -> None:
    """Every item once, under the name that the journal knows it by; none larger than allowed, none closed early."""
    folder = tmp_path_factory.mktemp("packing")
    texts = [text.encode("utf-8", "replace").decode() for text in texts]

    async def go() -> None:
        async with desk(folder / "out", refused_bytes=refused_bytes) as on:
            if together:
                async with anyio.create_task_group() as tasks:
                    for number, text in enumerate(texts):
                        tasks.start_soon(on.packer.add, ready(f"i{number}"), asked(f"i{number}", text), None)
            else:
                for number, text in enumerate(texts):
                    assert await on.add(f"i{number}", text=text)
            await on.packer.flush()
            seen = [await _checked(on, batch) for batch in on.tray.batches]
            names = [item_id for items in seen for item_id in items]
            assert sorted(names) == sorted(f"i{number}" for number in range(len(texts)))
            assert together or names == [f"i{number}" for number in range(len(texts))]
            assert on.budget.reserved_usd == pytest.approx(0.5 * len(texts))
            for batch, after in zip(on.tray.batches, seen[1:], strict=False):
                first = asked("", texts[int(after[0][1:])]).body
                assert batch.size + len(first) + LINE_BYTES + 2 > on.packer.most_bytes

    anyio.run(go)


async def _checked(on: Desk, batch: BuiltBatch) -> list[str]:
    """The items of a batch in the order of its body."""
    raw = batch.body.read_bytes()
    said = json.loads(raw)
    assert list(said) == ["requests"]
    assert len(raw) == batch.size
    assert len(said["requests"]) == batch.items
    assert len(raw) <= on.packer.most_bytes or batch.items == 1
    assert batch.worst_usd == pytest.approx(0.5 * batch.items)
    assert batch.file.closed
    names = []
    for request in said["requests"]:
        assert sorted(request) == ["custom_id", "params"]
        name = request["custom_id"]
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        item = await on.ledger.ask(lambda journal, name=name: book.item_of(journal, batch.number, name))
        assert request["params"] == json.loads(asked("", request["params"]["text"]).body)
        names.append(item.item_id)
    return names


async def test_a_batch_has_at_most_so_many_items(tmp_path: Path) -> None:
    """The next one goes into another; so does what the service would find too large."""
    async with desk(tmp_path / "out") as on:
        assert on.packer.most_bytes == MAX_BYTES
        await on.add("a")
        assert on.packer._open is not None
        on.packer._open.items = MAX_ITEMS - 1  # a hundred thousand rows would take minutes
        await on.add("b")
        assert on.tray.batches == []
        await on.add("c")
        assert [batch.items for batch in on.tray.batches] == [MAX_ITEMS]
        on.tray.refused_bytes = 10
        await on.add("d")
        assert len(on.tray.batches) == 2
        await on.packer.drop()


@given(st.integers(1, 10**4), st.integers(1, 10**4))
@settings(deadline=None)
def test_names_are_such_as_the_service_takes(turn: int, attempt: int) -> None:
    """At most 64 characters, and another for each item, prompt, turn, attempt and batch."""
    item = BatchItem(b"k" * 16, MARK, 1, "a", turn, attempt, "", 0.0, None, Packed("{}"))
    name = custom_id(item, "abcdef")
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
    others = [
        replace(item, key=b"l" * 16),
        replace(item, fingerprint="e" * 64),
        replace(item, turn=turn + 1),
        replace(item, attempt=attempt + 1),
    ]
    assert len({name, custom_id(item, "abcdeg"), *(custom_id(other, "abcdef") for other in others)}) == 6


async def test_attempts_go_on_from_what_was_made(tmp_path: Path) -> None:
    """In batches before, or through messages in this run; another turn begins with its first."""
    async with desk(tmp_path / "out") as on:
        await on.add("a")
        await on.add("a")
        assert (await on.kept("a")).attempt == 2
        await on.add("a", turn=2)
        assert ((await on.kept("a")).turn, (await on.kept("a")).attempt) == (2, 1)
        await on.add("b", attempts_before=4)
        assert (await on.kept("b")).attempt == 5
        await on.packer.drop()


async def test_an_item_waits_until_the_budget_has_room(tmp_path: Path) -> None:
    """What is built goes to the service meanwhile; a result that cost less makes the room."""
    async with desk(tmp_path / "out", 1.0) as on, anyio.create_task_group() as tasks:
        assert await on.add("a", worst_usd=1.6)
        tasks.start_soon(on.packer.add, ready("b"), asked("b", worst_usd=1.6), None)
        await wait_all_tasks_blocked()
        while not on.tray.batches:
            await checkpoint()
        assert on.budget.reserved_usd == pytest.approx(0.8)
        on.packer.told(0.8, 0.1)
        async with anyio.create_task_group() as flushing:
            flushing.start_soon(on.packer.flush)
        assert (on.budget.spent_usd, on.budget.reserved_usd) == (pytest.approx(0.1), pytest.approx(0.8))
        assert [batch.items for batch in on.tray.batches] == [1, 1]


@pytest.mark.parametrize("waits", [True, False])
async def test_an_item_for_which_there_will_be_no_room_ends_the_packing(tmp_path: Path, waits: bool) -> None:
    """One that costs more than is left in any case, and any where nobody waits for results."""
    async with desk(tmp_path / "out", 1.0, waits=waits) as on:
        assert await on.add("a", worst_usd=1.6)
        with pytest.raises(BudgetReachedError):
            await on.add("b", worst_usd=1.6 if not waits else 2.1)
        if waits:
            on.packer.told(0.8, 0.8)
            with pytest.raises(BudgetReachedError):
                await on.packer.more_room()
        assert on.budget.reserved_usd == pytest.approx(0.0 if waits else 0.8)
        await on.packer.flush()
        assert sum(batch.items for batch in on.tray.batches) == 1


async def test_the_end_of_a_run_sends_away_what_waits_for_the_budget(tmp_path: Path) -> None:
    """It stays open; what comes later is not taken either."""
    async with desk(tmp_path / "out", 1.0) as on:
        await on.add("a", worst_usd=1.6)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(PacerClosedError):
                    await on.add("b", worst_usd=1.6)

            tasks.start_soon(wait)
            while not on.tray.batches:
                await checkpoint()
            await wait_all_tasks_blocked()
            on.packer.stop()
        with pytest.raises(PacerClosedError):
            await on.add("c", worst_usd=0.1)
        assert await on.ledger.ask(lambda journal: book.count_items(journal, MARK)) == (1, 0)


async def test_what_is_diverted_is_left_to_be_asked_otherwise(tmp_path: Path) -> None:
    """What waits for the budget and what comes: as if there had been no attempt."""
    async with desk(tmp_path / "out", 1.0) as on:
        await on.add("a", worst_usd=1.6)
        said: list[bool] = []
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                said.append(await on.add("b", worst_usd=1.6))

            tasks.start_soon(wait)
            while not on.tray.batches:
                await checkpoint()
            await wait_all_tasks_blocked()
            on.packer.divert()
        said.append(await on.add("c", worst_usd=0.1))
        assert said == [False, False]
        assert on.packer.deferred == 2
        for name in ("b", "c"):
            item = await on.kept(name)
            assert (item.batch, item.attempt) == (None, 0)
        assert on.budget.reserved_usd == pytest.approx(0.8)


async def test_what_is_dropped_gives_back_its_money_and_its_items(tmp_path: Path) -> None:
    """The body goes; the items wait as if they had not been packed; dropping nothing is nothing."""
    async with desk(tmp_path / "out") as on:
        await on.packer.drop()
        for name in ("a", "b"):
            await on.add(name)
        assert on.budget.reserved_usd == pytest.approx(1.0)
        assert len(list(on.folder.iterdir())) == 1
        await on.packer.drop()
        await on.packer.flush()
        assert on.budget.reserved_usd == pytest.approx(0.0)
        assert list(on.folder.iterdir()) == on.tray.batches == []
        assert await on.ledger.ask(lambda journal: book.count_items(journal, MARK)) == (0, 2)
        assert await on.ledger.ask(book.batches_of) == []
        assert (await on.kept("a")).attempt == 0


async def test_identical_requests_wait_for_the_one_that_is_asked(tmp_path: Path) -> None:
    """However many come together, one is packed; once nobody asks it any more, another one is."""
    async with desk(tmp_path / "out") as on:
        packed: list[str] = []

        async def add(name: str) -> None:
            if await on.add(name, reuse=b"same"):
                packed.append(name)

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(add, name)
        assert len(packed) == 1
        assert on.packer.deferred == 3
        await on.add("other", reuse=b"another")
        await on.packer.drop()
        on.packer.defers = False
        other = next(name for name in "abcd" if name not in packed)
        assert await on.add(other, reuse=b"same")
        await on.packer.drop()


async def test_an_identical_request_that_was_answered_is_not_asked(tmp_path: Path) -> None:
    """The item waits, and is copied by whoever takes it up; one in the middle of its turns goes on."""
    async with desk(tmp_path / "out") as on:
        await on.ledger.settle(answered("done"), reuse=b"same")
        assert not await on.add("a", reuse=b"same")
        assert await on.add("b", reuse=b"same", turn=2)
        await on.packer.drop()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    (tmp_path / "taken").write_text("a file")
    async with desk(tmp_path / "out", folder=tmp_path / "taken") as on:
        with pytest.raises(OutputError, match="taken: a batch cannot be built: "):
            await on.add("a")
        assert on.budget.reserved_usd == 0


async def test_a_body_with_half_a_line_is_never_handed_over(tmp_path: Path) -> None:
    """A disk that is full ends the packing; what stood before the line waits, though there is room again."""
    with mounted_disk(tmp_path / "small", "64k") as disk:
        (disk / "ballast").write_bytes(b"x" * 20_000)
        async with desk(tmp_path / "out", folder=disk / "batches") as on:
            await on.add("a")
            with pytest.raises(OutputError, match="make room, then run again"):
                await on.add("b", text="x" * 100_000)
            with pytest.raises(PacerClosedError):
                await on.add("c")
            (disk / "ballast").unlink()
            await on.packer.flush()
            assert on.tray.batches == list((disk / "batches").iterdir()) == []
            assert on.budget.reserved_usd == pytest.approx(0.0)
            assert await on.ledger.ask(lambda journal: book.count_items(journal, MARK)) == (0, 1)
