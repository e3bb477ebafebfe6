"""Compaction killed at every write that it makes, while readers look."""

import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq
from torture.arena import Arena
from torture.trials import Bench, Tally, skipped

from pipeline.store.read import read_results

__all__ = ["compaction"]

_ITEMS = 24
_PROGRAM = (
    "import sys; from pathlib import Path; from pipeline.store.compact import compact; compact(Path(sys.argv[1]))"
)


def compaction(bench: Bench, trials: int) -> Tally:
    """Kill -9 at each fsync, rename, link, unlink and exchange of a compaction; a reader beside it counts the rows."""
    if shutil.which("strace") is None:
        return skipped("strace is not installed (Debian: apt install strace)")
    tally, survived, number = Tally(), 0, bench.first_call()
    base = bench.base("many parts", lambda place: _make(bench, place))
    calls = "fsync,fdatasync,rename,link,linkat,unlink,renameat2,pwrite64"
    while survived < 2 and tally.trials < trials:
        place = bench.folder()
        place.mkdir(parents=True)
        shutil.copytree(base / "out", place / "out", copy_function=shutil.copy2)
        shutil.copy(base / "answers.jsonl", place)
        with Arena(bench.job(_ITEMS), place, keep=True) as arena, _Reader(arena.output) as reader:
            before = ("strace", "-f", "--quiet=all", "-o", "/dev/null", "-e", f"trace={calls}")
            command = [*before, "-e", f"inject={calls}:signal=SIGKILL:when={number}", sys.executable, "-c", _PROGRAM]
            ended = subprocess.run([*command, arena.output], capture_output=True, text=True, check=False)
            survived = survived + 1 if ended.returncode == 0 else 0
            tally.check("Traceback" not in ended.stderr, ended.stderr[-500:])
            subprocess.run([sys.executable, "-c", _PROGRAM, arena.output], check=True)
            asked = arena.asked()
            code, said = arena.run_here()
            tally.check((code, arena.asked()) == (0, asked), f"the next run: {code}: {said[-500:]}")
            tally.check(len(list((arena.output / "results").iterdir())) == 1, "not compacted")
            found = arena.verdict()
        tally.check(not reader.odd, f"a reader saw {reader.odd} rows")
        tally.judge(found)
        number += bench.stride()
    return tally


def _make(bench: Bench, place: Path) -> None:
    with Arena(bench.job(_ITEMS), place, keep=True) as arena:
        arena.run_here("output.rows_per_file=3", "output.flush_seconds=3600")


class _Reader:
    """Reads the results over and over, with our reader and with one that only lists and opens.

    Attributes:
        odd: counts of rows that are not those of all items.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.odd: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.001):
            if (ours := read_results(self._output).num_rows) != _ITEMS:
                self.odd[f"{ours} (ours)"] += 1
            try:
                parts = sorted((self._output / "results").glob("part-*.parquet"))
                plain = sum(pq.read_table(part, columns=["item_id"]).num_rows for part in parts)
            except FileNotFoundError:
                continue  # a part that was merged since it was listed: an error, and no wrong answer
            if plain != _ITEMS:
                self.odd[f"{plain} (plain)"] += 1
