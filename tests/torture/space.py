"""Disks that are full and disks that fail: sending stops at once, and what was received is kept or named."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from support.standins import billed, read_log
from torture.arena import Arena, Ended, table
from torture.trials import Bench, Tally, skipped

from pipeline.store.schema import Kind

__all__ = ["disk_full", "io_error"]

_C = 16


def disk_full(bench: Bench, trials: int) -> Tally:
    """The output's file system fills up: nothing is sent a second later; with room again, the next run resumes."""
    tally = Tally()
    for _ in range(trials):
        place = bench.folder()
        with _small_disk(place / "disk") as disk:
            if disk is None:
                return skipped("needs root and the right to mount a small file system")
            with Arena(bench.job(300), place, output=disk / "out") as arena:
                ballast = disk / "ballast"
                process = arena.start("output.flush_seconds=0.3")
                arena.wait_for(bench.chance.randrange(5, 100), process)
                _fill(ballast, bench.chance.randrange(0, 40_000))
                arena.wait_until(partial(_is_over, arena, process))
                failed = time.monotonic()
                ended = arena.finish(process)
                # 0: what was left of the room was enough for the rest
                tally.check(ended.code in (0, 1), f"exit code {ended.code}: {ended.stderr[-300:]}")
                late = [line for line in arena.lines() if line["clock"] > failed + 1]
                tally.check(not late, f"{len(late)} requests later than a second after the failure")
                ballast.unlink()
                _resume(tally, arena, ended)
    return tally


def io_error(bench: Bench, trials: int) -> Tally:
    """Writes, syncs and renames that fail with EIO or ENOSPC from the Nth on, and once."""
    if shutil.which("strace") is None:
        return skipped("strace is not installed (Debian: apt install strace)")
    tally = Tally()
    calls = ("fdatasync", "fsync", "pwrite64", "rename")
    for trial in range(trials):
        call = calls[trial % len(calls)]
        with Arena(bench.job(40), bench.folder()) as arena:
            number = bench.chance.randrange(1, {"rename": 6, "fsync": 12}.get(call, 60))
            kind = ("EIO", "ENOSPC")[bench.chance.randrange(2)]
            when = f"{number}{'+' if bench.chance.random() < 0.5 else ''}"
            before = ("strace", "-f", "--quiet=all", "-o", "/dev/null", "-e", f"trace={call}")
            ended = arena.run(
                "output.rows_per_file=9", before=(*before, "-e", f"inject={call}:error={kind}:when={when}")
            )
            tally.check(ended.code in (0, 1, 2), f"{call}:{kind}:{when}: exit code {ended.code}: {ended.stderr[-300:]}")
            if ended.code == 2:
                tally.check(arena.asked() == 0, f"{call}:{kind}:{when}: 2, and something was sent")
            _resume(tally, arena, ended, f"{call}:{kind}:{when}")
    return tally


def _resume(tally: Tally, arena: Arena, ended: Ended, what: str = "") -> None:
    """The next run finishes; what the first received and could not write was named."""
    again = arena.run()
    tally.check(again.code == 0, f"{what}: the next run ended with {again.code}: {again.stderr[-300:]}")
    known = {row["request_id"] for row in table(arena.output, Kind.REQUESTS)}
    arrived = {line["request_id"] for line in read_log(arena.log) if line["event"] == "delivered"}
    lost = [line["request_id"] for line in billed(arena.log) if line["request_id"] in arrived - known]
    unnamed = [request for request in lost if request not in ended.stderr]
    tally.check(not unnamed, f"{what}: {len(unnamed)} answers arrived, are in no row, and were not named")
    tally.judge(arena.verdict(in_flight=_C))


def _is_over(arena: Arena, process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None or "cannot be written any more" in (arena.place / "stderr.txt").read_text(
        errors="replace"
    )


@contextmanager
def _small_disk(place: Path) -> Iterator[Path | None]:
    """A file system of 40 MB, `None` where it cannot be mounted."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(path: Path, left: int) -> None:
    """Takes all room but so many bytes."""
    free = shutil.disk_usage(path.parent).free - left
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, free))
        except OSError:
            file.truncate(max(1, shutil.disk_usage(path.parent).free - left))
