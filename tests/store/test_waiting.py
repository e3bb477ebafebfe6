"""What a run has received and not yet written to a part, seen from outside."""

import sys
from pathlib import Path

import anyio
from support.datasets import answered, caption_all, failed, journal_path, snapshot, with_ledger, write_run

from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from pipeline.store.schema import Kind
from pipeline.store.waiting import Waiting, look

LOOK = """
import sys
from pathlib import Path
from pipeline.store.waiting import look
assert look(Path(sys.argv[1])).sent == 3
"""


def test_a_run_is_seen_while_it_goes(tmp_path: Path) -> None:
    """Its rows, requests and money, before any part is written; a look changes no byte of the journal."""
    output = tmp_path / "out"

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a", manifest={"year": 7}), answered("b"), failed("c")])
        before = snapshot(output)
        await anyio.run_process(
            [sys.executable, "-c", LOOK, str(output)]
        )  # within one process SQLite shares its memory
        assert snapshot(output) == before
        found = look(output)
        rows = {kind: [] for kind in Kind}
        for tables in found.tables.values():
            for kind, table in tables:
                rows[kind] += table.to_pylist()
        assert sorted(row["item_id"] for row in rows[Kind.RESULTS]) == ["a", "b"]
        assert next(row for row in rows[Kind.RESULTS] if row["item_id"] == "a")["manifest"] == {"year": 7}
        assert [row["item_id"] for row in rows[Kind.FAILURES]] == ["c"]
        assert (found.sent, found.cost_usd, found.output_tokens) == (3, 1.5, 6)
        assert [run["run_id"] for run in found.runs] == ["run-7"]
        again = look(output, found)
        assert again.tables == found.tables

    with_ledger(output, body, RunIdentity("run-7", "f1", body={"started_at": "now"}))


def test_nothing_waits_where_no_run_is(tmp_path: Path) -> None:
    """A journal that is closed is not opened, and no file is made beside it."""
    write_run(tmp_path, [answered("a")])
    before = snapshot(tmp_path)
    assert look(tmp_path) == Waiting()
    assert look(tmp_path / "nowhere") == Waiting()
    assert snapshot(tmp_path) == before


def test_a_killed_run_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    """Its journal and log stand as they were left, damaged ones included."""
    output = tmp_path / "out"
    left = tmp_path / "left"

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered("a")])
        left.mkdir()
        (left / "_state").mkdir()
        for name in ("", "-wal", "-shm"):
            path = journal_path(output)
            (left / "_state" / f"{path.name}{name}").write_bytes(path.with_name(f"{path.name}{name}").read_bytes())

    with_ledger(output, body)
    before = snapshot(left)
    assert look(left).sent == 1
    assert snapshot(left) == before
    journal_path(left).write_bytes(b"no database")
    journal_path(left).with_name("journal.sqlite-wal").write_bytes(b"no log")
    assert look(left).tables == {}
