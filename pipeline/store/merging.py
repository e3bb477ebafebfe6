"""What a compaction leaves for the next start: its note in the journal, and the folder beside a table's own."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.journal import Journal
from pipeline.store.parts import Stamp, folder, stamp_of
from pipeline.store.schema import Kind

__all__ = ["GRACE_S", "Merge", "beside", "finish_merges"]

GRACE_S = 600
"""How long a replaced folder is kept for who is still listing it."""


@dataclass(frozen=True, slots=True)
class Merge:
    """A part and those that it is made of."""

    new: str
    old: tuple[str, ...]


def beside(output: Path, kind: Kind) -> Path:
    """The folder that changes places with a table's own."""
    return output / "_state" / f"compacting-{kind.value}"


def finish_merges(journal: Journal, output: Path) -> None:
    """Brings the journal to what a compaction did, or forgets one that did nothing; clears away what it left.

    Raises:
        OSError: something cannot be removed.
    """
    notes = journal.merges()
    for kind in Kind:
        if kind in notes:
            _finish(journal, output, kind, [Merge(new, tuple(old)) for new, *old in json.loads(notes[kind])])
        place = beside(output, kind)
        if place.is_dir() and time.time() - place.stat().st_mtime > GRACE_S:
            shutil.rmtree(place)


def _finish(journal: Journal, output: Path, kind: Kind, merges: list[Merge]) -> None:
    table = folder(output, kind)
    is_done = all((table / merge.new).exists() for merge in merges)
    with journal.transaction():
        for merge in merges if is_done else ():
            journal.pending.merge_parts(kind, merge.old, merge.new, stamp_of(table / merge.new) or Stamp(0))
        journal.forget_merges(kind)
