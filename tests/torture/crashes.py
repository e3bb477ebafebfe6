"""Kills at random moments and at every write, drains, stops, and readers that have gone away."""

import os
import shutil
import signal
import time

from torture.arena import Arena
from torture.trials import Bench, Tally, skipped

__all__ = [
    "closed_output",
    "drain",
    "kill_at_random",
    "kill_at_syscall",
    "kill_during_resume",
    "second_signal",
    "stopped_and_continued",
]

C = 16
_SWEEP_ITEMS = 5
_SWEEP = ("output.rows_per_file=2", "limits.concurrency=3", "output.flush_seconds=3600")


def kill_at_random(bench: Bench, trials: int) -> Tally:
    """Kill -9 at random moments of runs over 300 items, about ten in a row on each dataset."""
    tally = Tally()
    while tally.trials < trials:
        with Arena(bench.job(300), bench.folder()) as arena:
            kills = 0
            while tally.trials + kills < trials and arena.answered() < 300:
                process = arena.start()
                arena.kill_somewhere(bench.chance, process, 40)
                ended = arena.finish(process)
                kills += 1
                tally.check(ended.code in (-9, 0), f"exit code {ended.code}: {ended.stderr[-300:]}")
            finished(tally, arena, kills, kills * C)
    return tally


def kill_during_resume(bench: Bench, trials: int) -> Tally:
    """A run killed, its resume killed twice or three times, and what is done is not redone."""
    tally = Tally()
    for trial in range(trials):
        with Arena(bench.job(60), bench.folder(), latency_s=(0.0, 0.02)) as arena:
            kills = 3 + trial % 2
            for _ in range(kills):
                process = arena.start()
                arena.kill_somewhere(bench.chance, process, 15)
                arena.finish(process)
            finished(tally, arena, 1, kills * C)
    return tally


def kill_at_syscall(bench: Bench, trials: int, *, calls: str) -> Tally:
    """Kill -9 at each call of these kinds: the Nth of a run, and of every other's resume, for all N."""
    if shutil.which("strace") is None:
        return skipped("strace is not installed (Debian: apt install strace)")
    tally, survived, number = Tally(), 0, bench.first_call()
    while survived < 2 and tally.trials < trials:
        with Arena(bench.job(_SWEEP_ITEMS), bench.folder(), latency_s=(0.0, 0.005)) as arena:
            inject = ("strace", "-f", "--quiet=all", "-o", "/dev/null", "-e", f"trace={calls}")
            before = (*inject, "-e", f"inject={calls}:signal=SIGKILL:when={number}")
            ends = [arena.run(*_SWEEP, before=before) for _ in range(1 + number % 2)]
            survived = survived + 1 if ends[0].code == 0 else 0
            kills = sum(ended.code != 0 for ended in ends)
            finished(tally, arena, 1, kills * 3, *_SWEEP)
        number += bench.stride()
    return tally


def drain(bench: Bench, trials: int) -> Tally:
    """SIGTERM and SIGINT: the documented exit code in time, nothing sent afterwards, nothing billed twice."""
    tally = Tally()
    for trial in range(trials):
        number, code = ((signal.SIGTERM, 143), (signal.SIGINT, 130))[trial % 2]
        with Arena(bench.job(60), bench.folder(), latency_s=(0.05, 0.2)) as arena:
            process = arena.start()
            arena.wait_for(bench.chance.randrange(1, 40), process)
            process.send_signal(number)
            began = time.monotonic()
            ended = arena.finish(process)
            tally.check(ended.code == code, f"exit code {ended.code}, not {code}")
            tally.check(time.monotonic() - began <= 5 + 2, "the drain took longer than it may")
            tally.judge(arena.verdict(settled=False), count=0)
            finished(tally, arena, 1, 0)
    return tally


def second_signal(bench: Bench, trials: int) -> Tally:
    """Requests that hang do not hold a process that was told twice; what had arrived is kept."""
    tally = Tally()
    for _ in range(trials):
        with Arena(bench.job(60), bench.folder(), faults=["black_hole:after=20,until=60"]) as arena:
            process = arena.start("retry.drain_seconds=3600")
            arena.wait_for(20, process)
            process.send_signal(signal.SIGTERM)
            arena.wait_until(lambda: b"SIGTERM" in (arena.place / "stderr.txt").read_bytes())
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ended = arena.finish(process)
            tally.check(ended.code == 143, f"exit code {ended.code}")
            tally.check(time.monotonic() - began <= 2, "it did not stop at once")
            arena.server.service.faults = ()
            finished(tally, arena, 1, C)
    return tally


def stopped_and_continued(bench: Bench, trials: int) -> Tally:
    """SIGSTOP, a pause, SIGCONT: connections that died meanwhile are retried, and nothing is lost."""
    tally = Tally()
    for _ in range(trials):
        with Arena(bench.job(60), bench.folder()) as arena:
            process = arena.start()
            arena.wait_for(bench.chance.randrange(1, 40), process)
            os.kill(process.pid, signal.SIGSTOP)
            bench.pause(120)
            os.kill(process.pid, signal.SIGCONT)
            ended = arena.finish(process)
            tally.check(ended.code == 0, f"exit code {ended.code}: {ended.stderr[-300:]}")
            tally.judge(arena.verdict())
    return tally


def closed_output(bench: Bench, trials: int) -> Tally:
    """Standard output and error are closed, or a pipe that nobody reads: results are kept."""
    tally = Tally()
    shell = ('exec "$@" >&- 2>&-', 'exec "$@" >&-', '"$@" 2>&1 | true', 'exec "$@" >/dev/full 2>/dev/full')
    for trial in range(trials):
        with Arena(bench.job(60), bench.folder()) as arena:
            ended = arena.run(before=("sh", "-c", shell[trial % len(shell)], "sh"))
            tally.check(ended.code in (0, 1), f"exit code {ended.code}")
            tally.judge(arena.verdict())
    return tally


def finished(tally: Tally, arena: Arena, trials: int, in_flight: int, *more: str) -> None:
    """Runs to the end, judges, and sees that another run finds nothing to do."""
    ended = arena.run(*more)
    tally.check(ended.code == 0, f"the last run ended with {ended.code}: {ended.stderr[-500:]}")
    tally.judge(arena.verdict(in_flight=in_flight), count=trials)
    _idle(tally, arena, *more)


def _idle(tally: Tally, arena: Arena, *more: str) -> None:
    if tally.trials % 10 == 0:
        asked = arena.asked()
        ended = arena.run(*more)
        tally.check((ended.code, arena.asked()) == (0, asked), "a run with nothing to do did something")
