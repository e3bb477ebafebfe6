"""Kills of runs in the Batches mode, held against the stand-in's account of every batch and every result.

LOST, DUP and REBILL are those of `arena`, told of batches: a request may stand in one created batch only, a result that
was billed and delivered is in `requests` once, and no turn of an item is billed in two batches.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.standins import billed, read_log
from torture.arena import Arena, Verdict, rows_of
from torture.trials import Bench, Tally, skipped

from pipeline.store.schema import Kind

__all__ = ["batches_killed", "batches_killed_at_syscall"]

_FAULTS = (
    "item/500:share=0.03",
    "item/529:share=0.02",
    "item/expired:share=0.03",
    "results/truncated:part=0.5,share=0.3",
    "create/lost_answer:share=0.1",
    "create/500:share=0.1",
)
_MODE = ("api.mode=batches", "api.poll_seconds=0.05", "retry.max_wait_seconds=0.1", "retry.max_attempts=30")


def batches_killed(bench: Bench, trials: int) -> Tally:
    """Kill -9 at random moments of batches that lose answers, items and ends of results, often on one dataset."""
    tally = Tally()
    images, kills = (80, 4) if bench.brief else (5000, 50)
    while tally.trials < trials:
        with _arena(bench, images) as arena:
            done = 0
            for _ in range(min(kills, trials - tally.trials)):
                process = arena.start(*_MODE)
                _kill_somewhere(arena, bench.chance, process)
                ended = arena.finish(process)
                done += ended.code == -9
                tally.check(ended.code in (-9, 0), f"exit code {ended.code}: {ended.stderr[-300:]}")
            _finished(tally, arena, min(kills, trials - tally.trials), done)
    return tally


def batches_killed_at_syscall(bench: Bench, trials: int, *, calls: str) -> Tally:
    """Kill -9 at each call of these kinds, so also between intent, create, id, and the commit of each result."""
    if shutil.which("strace") is None:
        return skipped("strace is not installed (Debian: apt install strace)")
    tally, survived, number = Tally(), 0, bench.first_call()
    sweep = (*_MODE, "output.rows_per_file=2", "limits.concurrency=3", "output.flush_seconds=3600")
    while survived < 2 and tally.trials < trials:
        with _arena(bench, 5, faults=()) as arena:
            before = ("strace", "-f", "--quiet=all", "-o", "/dev/null", "-e", f"trace={calls}")
            inject = (*before, "-e", f"inject={calls}:signal=SIGKILL:when={number}")
            ends = [arena.run(*sweep, before=inject) for _ in range(1 + number % 2)]
            survived = survived + 1 if ends[0].code == 0 else 0
            _finished(tally, arena, 1, sum(ended.code != 0 for ended in ends), *sweep)
        number += bench.stride()
    return tally


@contextmanager
def _arena(bench: Bench, images: int, faults: tuple[str, ...] = _FAULTS) -> Iterator[Arena]:
    job = bench.job(images)
    pictures = sum(path.stat().st_size for path in job.folder.glob("*.jpg"))
    size = max(60_000, pictures * 4 // 3 // 5)  # six batches or more
    with Arena(job, bench.folder(), faults=faults, batch_s=(0.0, 0.3), batch_bytes=size) as arena:
        yield arena


def _kill_somewhere(arena: Arena, chance: random.Random, process: Any) -> None:
    """By the clock while the run starts, or a moment after the server has had so many more calls, batches or lines."""
    if chance.random() < 0.2:
        arena.wait_until(lambda: process.poll() is not None or arena.output.exists())
        wait_s = chance.random() * 0.8
    else:
        event, most = chance.choice((("batch_call", 12), ("batch_created", 3), ("batch_delivered", 300)))
        goal = _count(arena, event) + chance.randrange(1, most + 1)
        arena.wait_until(lambda: _count(arena, event) >= goal or process.poll() is not None)
        wait_s = chance.random() * 0.1
    arena.pause(wait_s, process)
    process.kill()


def _count(arena: Arena, event: str) -> int:
    return arena.log.read_bytes().count(f'"event": "{event}"'.encode()) if arena.log.exists() else 0


def _finished(tally: Tally, arena: Arena, trials: int, kills: int, *more: str) -> None:
    """Runs to the end without misfortune, judges, and sees that another run finds nothing to do."""
    arena.server.service.faults = ()
    words = more or _MODE
    ended = arena.run(*words)
    tally.check(ended.code == 0, f"the last run ended with {ended.code}: {ended.stderr[-500:]}")
    tally.judge(_verdict(arena, kills), count=trials)
    before = _count(arena, "batch_call")
    ended = arena.run(*words)
    tally.check((ended.code, _count(arena, "batch_call")) == (0, before), "a run with nothing to do did something")


def _verdict(arena: Arena, kills: int) -> Verdict:
    """Holds the dataset against the log; a message that was in flight at a kill may be asked again, nothing else."""
    found = arena.verdict(in_flight=kills, batches=True)
    lines = read_log(arena.log)
    named = Counter(line["custom_id"] for line in lines if line["event"] == "batch_request")
    found.faults += [f"created in {count} batches: {name}" for name, count in named.items() if count > 1]
    bill = {
        (line["batch_id"], line["custom_id"]): line
        for line in lines
        if line["event"] == "batch_result" and line["billed"]
    }
    turns = Counter(name.rsplit("-", 2)[0] for _, name in bill)
    found.rebill += sum(count - 1 for count in turns.values())
    found.faults += [f"billed {count} times: {name}" for name, count in turns.items() if count > 1]
    delivered = {(line["batch_id"], line["custom_id"]) for line in lines if line["event"] == "batch_delivered"}
    rows = rows_of(arena.output, Kind.REQUESTS, "batch_id", "item_id", "turn", "attempt", "cost_usd", "request_id")
    ours = [row for row in rows if row["batch_id"] is not None]
    twice = Counter((row["batch_id"], row["item_id"], row["turn"], row["attempt"]) for row in ours)
    found.dup += sum(count - 1 for count in twice.values())
    found.lost += max(0, len(bill.keys() & delivered) - sum(1 for row in ours if row["cost_usd"]))
    paid = sum(row["cost_usd"] or 0.0 for row in rows)
    known = {row["request_id"] for row in rows}
    theirs = sum(line["cost_usd"] for place, line in bill.items() if place in delivered)
    theirs += sum(line["cost_usd"] for line in billed(arena.log) if line["request_id"] in known)
    if abs(paid - theirs) > 1e-9:
        found.faults.append(f"requests.cost_usd: {paid}, the server's log: {theirs}")
    return found
