"""The sweep: every fault of the table, so many trials each, and what came out, one line a fault."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torture.batches import batches_killed, batches_killed_at_syscall
from torture.clusters import cluster_drained, cluster_killed
from torture.compaction import compaction
from torture.crashes import (
    closed_output,
    drain,
    kill_at_random,
    kill_at_syscall,
    kill_during_resume,
    second_signal,
    stopped_and_continued,
)
from torture.damage import disagree, mutate_journal, mutate_parts
from torture.overlap import clock_steps, holder_killed, manifest_changes, overlap
from torture.sharding import shards_killed
from torture.space import disk_full, io_error
from torture.trials import Bench, Fault, Tally

__all__ = ["FAULTS", "HEADER", "line", "sweep"]

FAULTS = (
    Fault("kill -9 at random, 300 items", kill_at_random, 200, 6),
    Fault("kill -9 at fsync", partial(kill_at_syscall, calls="fsync,fdatasync"), 400, 2),
    Fault("kill -9 at rename, unlink", partial(kill_at_syscall, calls="rename,unlink"), 400, 2),
    Fault("kill -9 at write", partial(kill_at_syscall, calls="write,pwrite64"), 800, 2),
    Fault("kill -9 in resumes, 3 and 4 times", kill_during_resume, 30, 2),
    Fault("SIGTERM, SIGINT", drain, 20, 2),
    Fault("second signal", second_signal, 6, 1),
    Fault("stopped and continued", stopped_and_continued, 2, 1),
    Fault("output closed", closed_output, 8, 2),
    Fault("disk full", disk_full, 20, 1),
    Fault("write errors (EIO, ENOSPC)", io_error, 60, 2),
    Fault("journal mutated", mutate_journal, 100, 24),
    Fault("parts mutated, foreign files", mutate_parts, 52, 13),
    Fault("journal and parts disagree", disagree, 24, 6),
    Fault("2 to 5 runs at once", overlap, 50, 2),
    Fault("lock holder killed", holder_killed, 10, 1),
    Fault("clock steps by a day", clock_steps, 4, 1),
    Fault("manifest changed", manifest_changes, 18, 9),
    Fault("compaction killed", compaction, 60, 3),
    Fault("Ray: workers and driver killed", cluster_killed, 2, 1),
    Fault("Ray: SIGTERM, SIGINT", cluster_drained, 2, 1),
    Fault("batches killed, 5,000 items", batches_killed, 50, 4),
    Fault("batches killed at fsync", partial(batches_killed_at_syscall, calls="fsync,fdatasync"), 400, 1),
    Fault("batches killed at write", partial(batches_killed_at_syscall, calls="write,pwrite64"), 800, 1),
    Fault("shards killed, N changed", shards_killed, 30, 1),
)

HEADER = f"{'fault':<36}{'trials':>7}{'LOST':>6}{'DUP':>6}{'REBILL':>8}{'pass':>9}"


def sweep(
    root: Path, seed: int, *, brief: bool, only: Sequence[str] = (), scale: float = 1.0
) -> Iterator[tuple[Fault, Tally]]:
    """Each fault with what came out, as soon as it has."""
    for fault in FAULTS:
        if only and not any(word in fault.name for word in only):
            continue
        bench = Bench(
            root / fault.name.replace(" ", "-").replace(",", ""), seed, brief=brief, stride=max(1, round(1 / scale))
        )
        trials = fault.brief_trials if brief else max(1, round(fault.trials * scale))
        yield fault, fault.inflict(bench, trials)
        bench.clear()


def line(fault: Fault, tally: Tally) -> str:
    """A line of the table."""
    if tally.is_skipped:
        return f"{fault.name:<36}{tally.notes[0]}"
    passed = f"{tally.passed}/{tally.trials}"
    return f"{fault.name:<36}{tally.trials:>7}{tally.lost:>6}{tally.dup:>6}{tally.rebill:>8}{passed:>9}"
