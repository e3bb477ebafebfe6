"""Journals and parts damaged on purpose, one of them gone, and both of different ages.

What is damaged may cost what was in it alone, and never without a word: an answer that is asked again while nothing in
the log says why is a silent repeat, and counts as LOST.
"""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torture.arena import Arena
from torture.trials import Bench, Tally

from pipeline.errors import PipelineError
from pipeline.store.parts import is_whole, list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.schema import Kind

__all__ = ["disagree", "mutate_journal", "mutate_parts"]

_ITEMS = 24
_CUT = ("output.rows_per_file=7",)
Damage = Callable[[random.Random, Path], None]


def mutate_journal(bench: Bench, trials: int) -> Tally:
    """A journal, of a finished or a killed run, that was truncated, zeroed, garbled, swapped or edited."""
    tally = Tally()
    bases = _finished(bench), _killed(bench)
    for trial in range(trials):
        base = bases[trial % 2]
        with _copy(bench, base) as arena:
            damage = _JOURNAL_DAMAGE[(trial // 2) % len(_JOURNAL_DAMAGE)]
            damage(bench.chance, arena.output / "_state" / "journal.sqlite")
            _judge(tally, arena, damage.__name__)
    return tally


def mutate_parts(bench: Bench, trials: int) -> Tally:
    """Garbled parts, strays and foreign files: readers see the rest and name the bad one, the next run mends."""
    tally = Tally()
    base = _finished(bench)
    for trial in range(trials):
        with _copy(bench, base) as arena:
            damage = _PART_DAMAGE[trial % len(_PART_DAMAGE)]
            damage(bench.chance, arena.output / "results")
            _read(tally, arena, damage.__name__)
            _judge(tally, arena, damage.__name__)
    return tally


def disagree(bench: Bench, trials: int) -> Tally:
    """Journal and parts of different ages, either of them deleted: one rule, and no row twice."""
    tally = Tally()
    for trial in range(trials):
        old = _killed(bench, fresh=not bench.brief)
        with _copy(bench, old) as arena:
            new = arena.place / "old"
            shutil.copytree(arena.output, new)
            arena.run_here(*_CUT)
            change = _DISAGREEMENTS[trial % len(_DISAGREEMENTS)]
            change(arena.output, new)
            shutil.rmtree(new)
            _judge(tally, arena, change.__name__)
    return tally


def _finished(bench: Bench) -> Path:
    """The folder of a trial whose run came to its end."""
    return bench.base("finished", lambda place: _make(bench, place, kill=False))


def _killed(bench: Bench, *, fresh: bool = False) -> Path:
    """The folder of a trial whose run was killed, so that the journal holds what no part does."""
    name = f"killed-{bench.chance.random()}" if fresh else "killed"
    return bench.base(name, lambda place: _make(bench, place, kill=True))


def _make(bench: Bench, place: Path, *, kill: bool) -> None:
    with Arena(bench.job(_ITEMS), place, keep=True) as arena:
        process = arena.start(*_CUT, "output.flush_seconds=3600", "limits.concurrency=4")
        if kill:
            arena.wait_for(_ITEMS // 2, process)
            process.kill()
        arena.finish(process)


def _copy(bench: Bench, base: Path) -> Arena:
    place = bench.folder()
    place.mkdir(parents=True)
    shutil.copytree(base / "out", place / "out", symlinks=True)
    shutil.copy(base / "answers.jsonl", place)
    return Arena(bench.job(_ITEMS), place)


def _judge(tally: Tally, arena: Arena, what: str) -> None:
    before = arena.asked()
    code, said = arena.run_here(*_CUT)
    if code == 2:
        tally.check("newer version" in said or "is a link" in said, f"{what}: refused: {said[-300:]}")
        tally.check(arena.asked() == before, f"{what}: refused, and something was sent")
        tally.end()
        return
    tally.check(code == 0, f"{what}: exit code {code}: {said[-500:]}")
    told = any(word in said for word in ("damaged", "set aside", "gone from the dataset", "journal is gone"))
    found = arena.verdict(in_flight=_ITEMS if told else 4)
    if told:  # what is named may be asked again
        found.lost, found.faults = 0, [fault for fault in found.faults if fault.startswith(("unreadable", "stray"))]
        found.lost = len(set(arena.job.ids) - set(read_results(arena.output)["item_id"].to_pylist()))
    tally.check(not (found.lost or found.dup), f"{what}: {said[-800:]}")
    tally.judge(found)


def _read(tally: Tally, arena: Arena, what: str) -> None:
    """Readers give exactly the rows of the sound parts, and name the others."""
    sound = [part for part in list_parts(arena.output, Kind.RESULTS) if is_whole(part) and _is_ours(part)]
    strange = {part.name for part in list_parts(arena.output, Kind.RESULTS)} - {part.name for part in sound}
    with arena.listening() as said:
        try:
            rows = read_results(arena.output).num_rows
            dataset_status(arena.output)
        except PipelineError as error:
            tally.check(False, f"{what}: a reader was refused: {error}")
            return
    expected = sum(pq.read_metadata(part).num_rows for part in sound)
    tally.check(rows == expected, f"{what}: {rows} rows were read, {expected} are sound")
    for name in strange:
        tally.check(name in "\n".join(said), f"{what}: {name} was left out without a word")


def _is_ours(part: Path) -> bool:
    return "caption" in pq.read_schema(part).names


# What can happen to a journal.


def truncated(chance: random.Random, path: Path) -> None:
    """Cut off at a random byte."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def zeroed(chance: random.Random, path: Path) -> None:
    """A random stretch of zeros."""
    _overwrite(chance, path, b"\0" * chance.randrange(16, 4096))


def garbled(chance: random.Random, path: Path) -> None:
    """A few random bytes."""
    for _ in range(chance.randrange(1, 8)):
        _overwrite(chance, path, chance.randbytes(chance.randrange(1, 32)))


def bit_flipped(chance: random.Random, path: Path) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def emptied(chance: random.Random, path: Path) -> None:
    """No bytes at all."""
    path.write_bytes(b"")


def headless(chance: random.Random, path: Path) -> None:
    """Its first hundred bytes are noise."""
    with path.open("r+b") as file:
        file.write(chance.randbytes(100))


def wal_garbled(chance: random.Random, path: Path) -> None:
    """Its write-ahead log is noise, or a damaged one."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        garbled(chance, wal)
    else:
        wal.write_bytes(chance.randbytes(8192))


def unsealed(chance: random.Random, path: Path) -> None:
    """Its seal is gone, and a bit is flipped."""
    path.with_suffix(".seal").unlink(missing_ok=True)
    bit_flipped(chance, path)


def seal_garbled(chance: random.Random, path: Path) -> None:
    """The seal is another's."""
    path.with_suffix(".seal").write_bytes(chance.randbytes(32).hex().encode())


def index_thinned(chance: random.Random, path: Path) -> None:
    """Some items are struck from its index by another program."""
    path.with_suffix(".seal").unlink(missing_ok=True)
    _edit(path, "DELETE FROM settled WHERE abs(random()) % 3 = 0")


def parts_forgotten(chance: random.Random, path: Path) -> None:
    """Its list of parts is empty."""
    path.with_suffix(".seal").unlink(missing_ok=True)
    _edit(path, "DELETE FROM parts")


def of_a_newer_version(chance: random.Random, path: Path) -> None:
    """Written by a program of the future."""
    path.with_suffix(".seal").unlink(missing_ok=True)
    _edit(path, "UPDATE meta SET value='99' WHERE name='version'")


_JOURNAL_DAMAGE: list[Damage] = [
    truncated,
    zeroed,
    garbled,
    bit_flipped,
    emptied,
    headless,
    wal_garbled,
    unsealed,
    seal_garbled,
    index_thinned,
    parts_forgotten,
    of_a_newer_version,
]


# What can happen to a folder of parts.


def part_garbled(chance: random.Random, folder: Path) -> None:
    """Random bytes in the middle of a part."""
    garbled(chance, _some(chance, folder))


def part_truncated(chance: random.Random, folder: Path) -> None:
    """A part cut off."""
    truncated(chance, _some(chance, folder))


def part_zeroed(chance: random.Random, folder: Path) -> None:
    """A stretch of zeros in a part."""
    zeroed(chance, _some(chance, folder))


def part_gone(chance: random.Random, folder: Path) -> None:
    """A part that somebody removed."""
    _some(chance, folder).unlink()


def part_copied(chance: random.Random, folder: Path) -> None:
    """A part twice, by another name."""
    shutil.copy(_some(chance, folder), folder / "part-copy.parquet")


def part_copied_in_half(chance: random.Random, folder: Path) -> None:
    """Some rows of a part twice, in a part of another name."""
    table = pq.read_table(_some(chance, folder))
    pq.write_table(table.slice(0, max(1, table.num_rows // 2)), folder / "part-half.parquet")


def copies_mixed(chance: random.Random, folder: Path) -> None:
    """Rows that stand elsewhere already, beside one that does not."""
    table = pq.read_table(_some(chance, folder)).slice(0, 2)
    other = table.slice(0, 1).set_column(0, table.schema.field(0), pa.array(["somebody else's"]))
    pq.write_table(pa.concat_tables([table, other]), folder / "part-mixed.parquet")


def stray(chance: random.Random, folder: Path) -> None:
    """A temporary file of a run that was killed."""
    (folder / ".tmp-part-stray.parquet").write_bytes(b"PAR1")


def foreign_file(chance: random.Random, folder: Path) -> None:
    """Somebody's notes, which nobody reads."""
    (folder / "notes.txt").write_text("not ours")


def foreign_part(chance: random.Random, folder: Path) -> None:
    """A Parquet file of other columns."""
    pq.write_table(pa.table({"a": [1]}), folder / "part-foreign.parquet")


def noise_part(chance: random.Random, folder: Path) -> None:
    """No Parquet file at all."""
    (folder / "part-noise.parquet").write_bytes(chance.randbytes(500))


def folder_as_part(chance: random.Random, folder: Path) -> None:
    """A folder with a part's name."""
    (folder / "part-folder.parquet").mkdir()


def dangling_part(chance: random.Random, folder: Path) -> None:
    """A link to nowhere with a part's name."""
    (folder / "part-link.parquet").symlink_to("nowhere")


_PART_DAMAGE: list[Damage] = [
    part_garbled,
    part_truncated,
    part_zeroed,
    part_gone,
    part_copied,
    part_copied_in_half,
    copies_mixed,
    stray,
    foreign_file,
    foreign_part,
    noise_part,
    folder_as_part,
    dangling_part,
]


# How journal and parts can come to disagree; `old` is the dataset as a kill left it, before it was finished.


def journal_gone(output: Path, old: Path) -> None:
    """The journal was deleted."""
    (output / "_state" / "journal.sqlite").unlink()


def state_gone(output: Path, old: Path) -> None:
    """All of `_state` was deleted."""
    shutil.rmtree(output / "_state")


def results_gone(output: Path, old: Path) -> None:
    """All results were deleted."""
    shutil.rmtree(output / "results")


def journal_older(output: Path, old: Path) -> None:
    """The journal was restored from before."""
    shutil.rmtree(output / "_state")
    shutil.copytree(old / "_state", output / "_state")


def parts_older(output: Path, old: Path) -> None:
    """The parts were restored from before."""
    shutil.rmtree(output / "results")
    if (old / "results").is_dir():
        shutil.copytree(old / "results", output / "results")


def requests_gone(output: Path, old: Path) -> None:
    """The bill was deleted."""
    shutil.rmtree(output / "requests")


_DISAGREEMENTS = [journal_gone, state_gone, results_gone, journal_older, parts_older, requests_gone]


def _some(chance: random.Random, folder: Path) -> Path:
    return chance.choice(sorted(folder.glob("part-*.parquet")))


def _overwrite(chance: random.Random, path: Path, noise: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(max(1, path.stat().st_size)))
        file.write(noise)


def _edit(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(sql)
    except sqlite3.Error:
        pass  # a killed run's journal may be busy with itself; the trial is then one without this edit
    finally:
        connection.close()
