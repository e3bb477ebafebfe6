"""Datasets written by the real ledger: small runs, their items, and looks at what they left."""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa

from pipeline.errors import ErrorType, ItemError
from pipeline.manifest.extras import ArrowExtras
from pipeline.records import Attempt, ImageRecord, Item, Outcome, Usage
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal
from pipeline.store.keys import duplicate_key
from pipeline.store.ledger import Ledger, open_ledger
from pipeline.store.recovery import Recovered, open_journal, recover

__all__ = [
    "MOMENT",
    "answered",
    "caption_all",
    "failed",
    "journal_path",
    "paid",
    "recovered",
    "snapshot",
    "with_ledger",
    "write_run",
]

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def answered(item_id: str, *, manifest: Mapping[str, Any] | None = None, **columns: Any) -> Outcome:
    """An answer about one image, with a caption that names the item."""
    extras = ArrowExtras(pa.RecordBatch.from_pylist([dict(manifest)]), 0) if manifest else None
    columns = {"caption": f"caption of {item_id}", "replies": (f"caption of {item_id}",), **columns}
    return Outcome(Item(item_id, (), extras=extras), (ImageRecord(f"{item_id}.jpg"),), **columns)


def failed(item_id: str, error_type: str = "image_missing", *, retryable: bool = False, source: str = "") -> Outcome:
    """A failure of an item."""
    error = ItemError(error_type, f"{item_id} went wrong", retryable=retryable)
    return Outcome(Item(item_id, ()), (ImageRecord(source or f"{item_id}.jpg"),), error=error)


def paid(item_id: str, attempt: int = 1, *, status: int | None = 200, turn: int = 1) -> Attempt:
    """A request's end; a 200 is billed 10 tokens in, 2 out, half a dollar."""
    usage = Usage(10, 2, 3, 4) if status == 200 else None
    return Attempt(
        item_id,
        turn,
        attempt,
        MOMENT,
        12.5,
        http_status=status,
        error_type=None if status == 200 else "rate_limit_error",
        usage=usage,
        cost_usd=0.5 if usage else None,
        answer=b'{"answer": 1}' if status == 200 else None,
    )


async def caption_all(ledger: Ledger, outcomes: Sequence[Outcome]) -> None:
    """Each outcome by a task of its own: departs, arrives, settles."""

    async def one(outcome: Outcome) -> None:
        item_id = outcome.item.item_id
        flight = ledger.depart(item_id, 1, 1, MOMENT)
        await ledger.arrive(flight, paid(item_id))
        is_twin = outcome.error is not None and outcome.error.error_type == ErrorType.DUPLICATE_ID
        key = duplicate_key(item_id, [image.source for image in outcome.images]) if is_twin else None
        await ledger.settle(outcome, key=key)

    async with anyio.create_task_group() as tasks:
        for outcome in outcomes:
            tasks.start_soon(one, outcome)


def with_ledger(
    output: Path,
    body: Callable[[Ledger], Awaitable[None]],
    run: RunIdentity | None = None,
    settings: DatasetSettings | None = None,
) -> None:
    """A whole run around `body`: journal, recovery, ledger, and all closed again."""

    async def go(journal: Journal) -> None:
        chosen = settings or DatasetSettings(output)
        async with open_ledger(journal, chosen, run or RunIdentity("run-1", "f1")) as ledger:
            await body(ledger)

    with recovered(output, settings) as (journal, _):
        anyio.run(go, journal)


def write_run(output: Path, outcomes: Sequence[Outcome], *, run_id: str = "run-1", fingerprint: str = "f1") -> None:
    """A run that comes to these outcomes; its entry in `runs/` is not written here."""

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, outcomes)

    with_ledger(output, body, RunIdentity(run_id, fingerprint))
    with recovered(output):
        pass


@contextmanager
def recovered(output: Path, settings: DatasetSettings | None = None) -> Iterator[tuple[Journal, Recovered]]:
    """The journal of a dataset, after recovery, and what that found."""
    chosen = settings or DatasetSettings(output)
    journal = open_journal(output, chosen.shard)
    try:
        yield journal, recover(journal, chosen)
    finally:
        journal.close()


def journal_path(output: Path) -> Path:
    """Where the journal lies."""
    return output / "_state" / "journal.sqlite"


def snapshot(output: Path) -> dict[str, tuple[bytes, int]]:
    """Every file under a folder: its bytes, and when it was written."""
    return {
        os.fspath(path.relative_to(output)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }
