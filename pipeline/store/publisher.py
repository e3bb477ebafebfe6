"""From pending rows to parts, while a run goes: when it is done, and in which order. How it is done: `publishing`."""

from functools import partial
from itertools import count

import anyio

from pipeline.errors import OutputError
from pipeline.store.commits import Commits
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.parts import Stamp
from pipeline.store.pending import Reservation
from pipeline.store.places import JOURNAL
from pipeline.store.publishing import publish_reserved
from pipeline.store.replacing import planned, replace_rows
from pipeline.store.schema import Kind

__all__ = ["Publisher"]


class Publisher:
    """Publishes what one run writes.

    Args:
        commits: how the journal is told.
        settings: where the dataset is, and how large its parts are.
        run_id: names the parts.
    """

    def __init__(self, commits: Commits, settings: DatasetSettings, run_id: str) -> None:
        self._commits = commits
        self._settings = settings
        self._run_id = run_id
        self._path = settings.state / JOURNAL
        self._parts = count(1)
        self._waiting = dict.fromkeys(Kind, 0)
        self._replacing = 0
        self._full = anyio.Event()
        self._publishing = anyio.Lock()

    def expect(self, kind: Kind) -> None:
        """A row of this table was handed over."""
        self._waiting[kind] += 1
        if self._waiting[kind] >= self._settings.rows_per_file:
            self._full.set()

    def expect_replacement(self) -> None:
        """A row was written that takes the place of a published one."""
        self._replacing += 1

    async def publish(self, *, full_only: bool = False) -> None:
        """Puts every pending row into parts, or those of the tables that have enough of them.

        Raises:
            OutputError: a part could not be written; its rows are in the journal.
        """
        async with self._publishing:
            for kind in Kind:
                while self._waiting[kind] >= (self._settings.rows_per_file if full_only else 1):
                    reservation = await self._reserve(kind)
                    self._waiting[kind] = self._waiting[kind] - reservation.rows if reservation else 0
                    if reservation is not None:
                        await self._write(reservation)

    async def replace(self) -> None:
        """Puts answers that take the place of published ones there; see `replacing`.

        Raises:
            OutputError: as `publish`.
        """
        while self._replacing:
            self._replacing = 0
            for one in await self._commits.on_files(planned, self._settings, self._path):
                numbers, part = one.numbers, one.part
                if part is None:
                    await self._commits.do(partial(_unmark, numbers))
                    self._waiting[Kind.RESULTS] += len(numbers)
                    await self.publish()
                    continue
                stamp = await self._commits.on_files(replace_rows, self._settings, one, self._path)
                await self._commits.do(partial(_mark_replaced, numbers, part, stamp))

    async def flush_regularly(self) -> None:
        """Publishes when enough rows wait, and at least every `flush_seconds` while any do, until something fails."""
        due = anyio.current_time() + self._settings.flush_seconds
        while self._commits.failure is None:
            with anyio.move_on_at(due):
                await self._full.wait()
            self._full = anyio.Event()
            is_due = anyio.current_time() >= due
            if is_due:
                due = anyio.current_time() + self._settings.flush_seconds
            with anyio.CancelScope(shield=True):
                try:
                    await self.publish(full_only=not is_due)
                except OutputError:
                    return  # it stands in `failure`: `depart` refuses, and the ledger's end raises it

    async def _reserve(self, kind: Kind) -> Reservation | None:
        name = self._settings.part_name(self._run_id, next(self._parts))
        most = self._settings.rows_per_file
        found: Reservation | None = await self._commits.do(lambda journal: journal.pending.reserve(kind, name, most))
        return found

    async def _write(self, reservation: Reservation) -> None:
        stamp = await self._commits.on_files(publish_reserved, self._settings, reservation, self._path)
        await self._commits.do(lambda journal: journal.pending.published(reservation.name, stamp))


def _unmark(numbers: tuple[int, ...], journal: Journal) -> None:
    journal.pending.nothing_to_replace(numbers)


def _mark_replaced(numbers: tuple[int, ...], part: str, stamp: Stamp, journal: Journal) -> None:
    journal.pending.replaced(numbers, part, stamp)
