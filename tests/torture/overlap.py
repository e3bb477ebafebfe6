"""Several runs on one output, a holder that dies, a clock that jumps, and manifests that change between runs."""

import csv
import shutil
import time
from pathlib import Path

from support.jobs import Job, environment
from support.pictures import encoded, smooth
from torture.arena import Arena
from torture.trials import Bench, Tally, skipped

from pipeline.errors import OutputHeldError
from pipeline.store.lock import OutputLock

__all__ = ["clock_steps", "holder_killed", "manifest_changes", "overlap"]

_C = 16
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def overlap(bench: Bench, trials: int) -> Tally:
    """Two to five runs started at once: one works, the others exit with 75, and nothing is paid twice."""
    tally = Tally()
    for trial in range(trials):
        with Arena(bench.job(20), bench.folder(), latency_s=(0.05, 0.2)) as arena:
            processes = [arena.start() for _ in range(2 + trial % 4)]
            codes = [arena.finish(process).code for process in processes]
            tally.check(set(codes) <= {0, 75} and 0 in codes, f"exit codes {codes}")
            found = arena.verdict()
            tally.check(found.rebill == 0, f"{found.rebill} answers were paid twice")
            tally.judge(found)
    return tally


def holder_killed(bench: Bench, trials: int) -> Tally:
    """The lock dies with its holder: within two seconds the next may start."""
    tally = Tally()
    for _ in range(trials):
        with Arena(bench.job(60), bench.folder()) as arena:
            process = arena.start()
            arena.wait_for(bench.chance.randrange(1, 30), process)
            process.kill()
            began = time.monotonic()
            arena.wait_until(lambda: _is_free(arena.output / "_state" / "lock"))
            tally.check(time.monotonic() - began <= 2, "the lock outlived its holder")
            arena.finish(process)
            ended = arena.run()
            tally.check(ended.code == 0, f"exit code {ended.code}")
            tally.judge(arena.verdict(in_flight=_C))
    return tally


def clock_steps(bench: Bench, trials: int) -> Tally:
    """The wall clock jumps by a day, there and back, while requests wait to be retried: waits go by another clock."""
    if not Path(_FAKETIME).exists():
        return skipped("libfaketime is not installed (Debian: apt install faketime)")
    tally = Tally()
    for _ in range(trials):
        faults = ["429:at=5,retry_after=2", "529:at=20"]
        with Arena(bench.job(60), bench.folder(), faults=faults) as arena:
            clock = arena.place / "clock"
            clock.write_text("+0d")
            fake = {"LD_PRELOAD": _FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
            process = arena.start(env=environment(**fake, FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1"))
            for count, step in ((2, "+1d"), (8, "-1d"), (30, "+0d")):
                arena.wait_for(count, process)
                clock.write_text(step)
            ended = arena.finish(process, timeout=60)
            tally.check(ended.code == 0, f"exit code {ended.code}: {ended.stderr[-300:]}")
            _check_wait(tally, arena)
            tally.judge(arena.verdict())
    return tally


def manifest_changes(bench: Bench, trials: int) -> Tally:
    """Rows added, removed, reordered; an id with another path; other bytes at a path: what changed is paid for."""
    tally = Tally()
    for trial in range(trials):
        shared = bench.job(12)
        place = bench.folder()
        shutil.copytree(shared.folder, place / "job")
        job = Job(place / "job", shared.config_path, place / "out", shared.ids)
        with Arena(job, place) as arena:
            change, mode, expected = _CHANGES[trial % len(_CHANGES)]
            words = (f"manifest.path={job.folder / 'photos.csv'}", f"manifest.changed={mode}")
            arena.run_here(*words)
            before = arena.asked()
            change(job.folder)
            code, said = arena.run_here(*words)
            asked = arena.asked() - before
            name = f"{change.__name__} ({mode})"
            tally.check(code == 0, f"{name}: exit code {code}: {said[-300:]}")
            tally.check(asked == expected, f"{name}: {asked} requests, {expected} were changed")
            again = arena.asked()
            arena.run_here(*words)
            tally.check(arena.asked() == again, f"{name}: the third run sent something")
            found = arena.verdict(in_flight=expected)
            found.lost = 0 if expected else found.lost  # a changed picture is asked about twice, and on purpose
            tally.judge(found)
    return tally


def _added(folder: Path) -> None:
    rows = _rows(folder)
    _write(folder, [*rows, *([f"new-{number}", f"item-{number:03}.jpg", f"New {number}"] for number in range(3))])


def _removed(folder: Path) -> None:
    _write(folder, _rows(folder)[:5])


def _reordered(folder: Path) -> None:
    _write(folder, _rows(folder)[::-1])


def _other_path(folder: Path) -> None:
    shutil.copy(folder / "item-003.jpg", folder / "other.jpg")
    _write(folder, [[row[0], "other.jpg" if row[0] == "item-003" else row[1], row[2]] for row in _rows(folder)])


def _other_bytes(folder: Path) -> None:
    for number in (2, 7):
        (folder / f"item-{number:03}.jpg").write_bytes(encoded(smooth(400, 300, number), quality=80))


_CHANGES = [
    (_added, "ignore", 3),
    (_removed, "ignore", 0),
    (_reordered, "ignore", 0),
    (_other_path, "ignore", 0),
    (_other_bytes, "ignore", 0),
    (_added, "detect", 3),
    (_reordered, "detect", 0),
    (_other_path, "detect", 0),
    (_other_bytes, "detect", 2),
]


def _rows(folder: Path) -> list[list[str]]:
    with (folder / "photos.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def _write(folder: Path, rows: list[list[str]]) -> None:
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image", "title"], *rows])


def _is_free(path: Path) -> bool:
    try:
        with OutputLock(path):
            return True
    except OutputHeldError:
        return False


def _check_wait(tally: Tally, arena: Arena) -> None:
    """Between the 429 and the end of its wait, as the server's monotonic clock has it, nothing new was sent.

    What was on its way at the 429 may still be answered, and is fewer than may be in flight.
    """
    lines = arena.lines()
    refused = next((line for line in lines if line.get("status") == 429), None)
    if refused is None:
        tally.check(False, "the 429 never came")
        return
    early = [line for line in lines if refused["clock"] < line["clock"] < refused["clock"] + 2 - 0.05]
    tally.check(len(early) < _C, f"{len(early)} requests were answered while the 429 still held")
