"""What all faults share: jobs and folders for their trials, chance with a seed, and the count of what came out."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.jobs import Job
from torture.arena import Verdict, make_arena_job

__all__ = ["Bench", "Fault", "Tally", "skipped"]


@dataclass(slots=True)
class Tally:
    """What the trials of one fault came to.

    Attributes:
        trials: how many were judged.
        passed: of them, those with nothing wrong.
        notes: what was wrong, or why it was skipped.
    """

    trials: int = 0
    passed: int = 0
    lost: int = 0
    dup: int = 0
    rebill: int = 0
    notes: list[str] = field(default_factory=list)
    is_skipped: bool = False
    _open: list[str] = field(default_factory=list)

    def check(self, is_so: bool, otherwise: str) -> None:
        """Something that the trial under way must show."""
        if not is_so:
            self._open.append(otherwise)

    def judge(self, verdict: Verdict, count: int = 1) -> None:
        """Ends a trial, or so many that share a dataset; with `count=0` it goes on."""
        self.lost += verdict.lost
        self.dup += verdict.dup
        self._open += verdict.faults
        if verdict.lost or verdict.dup:
            self._open.append(f"LOST {verdict.lost}, DUP {verdict.dup}")
        if count:
            self.rebill += verdict.rebill
            self.end(count)

    def end(self, count: int = 1) -> None:
        """Ends a trial, or so many."""
        self.trials += count
        self.passed += 0 if self._open else count
        self.notes += [f"trial {self.trials}: {note}" for note in self._open]
        self._open.clear()


def skipped(reason: str) -> Tally:
    """No trial, and why."""
    return Tally(notes=[f"skipped: {reason}"], is_skipped=True)


class Bench:
    """Where trials are made.

    Args:
        root: an empty folder.
        seed: of every random choice.
        brief: whether this is the subset that runs with every test run: pauses are short, sweeps take long strides.
    """

    def __init__(self, root: Path, seed: int, *, brief: bool, stride: int = 1) -> None:
        self.root = root
        self.brief = brief
        self._stride = stride
        self.chance = random.Random(seed)
        self._jobs: dict[int, Job] = {}
        self._bases: dict[str, Path] = {}
        self._folders = 0

    def job(self, images: int) -> Job:
        """A job of so many items, shared by all trials that ask for as many."""
        if images not in self._jobs:
            self._jobs[images] = make_arena_job(self.root / f"job-{images}", images)
        return self._jobs[images]

    def folder(self) -> Path:
        """A fresh folder."""
        self._folders += 1
        return self.root / f"trial-{self._folders:04}"

    def base(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder that many trials begin from, made once."""
        if name not in self._bases:
            self._bases[name] = self.folder()
            make(self._bases[name])
        return self._bases[name]

    def pause(self, seconds: float) -> None:
        """The length of this fault itself, cut short in a brief sweep."""
        time.sleep(min(seconds, 1.0) if self.brief else seconds)

    def stride(self) -> int:
        """From one call number of a sweep to the next."""
        return self.chance.randrange(3, 12) if self.brief else self._stride

    def first_call(self) -> int:
        """The call at which a sweep begins."""
        return self.chance.randrange(1, 4) if self.brief else self.chance.randrange(1, 1 + self._stride)

    def clear(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.root, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table: how it is done, how often in a whole sweep, and how often with every test run."""

    name: str
    inflict: Callable[[Bench, int], Tally]
    trials: int
    brief_trials: int
