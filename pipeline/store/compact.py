"""`pipeline compact`: many small parts made few, while readers read.

Several files take the place of several others, and a reader that lists a folder must see either these or those. No
order of single renames does that, so the folder itself is exchanged:

1. A folder beside the table's own (under `_state/`) is filled with the merged parts, under new names, and with hard
   links to everything else that the table's folder holds. All of it is synced.
2. The journal notes which new part stands for which old ones.
3. The two folders change places, in one step (`renameat2`).
4. The journal takes the new parts for the old ones, and the note away.

Crash before 3: the table is as it was, and the next start removes the folder beside it. Crash after 3: the next start
finds the new parts in the table's folder and does 4. Nothing is decided by what is in memory.

Who listed the folder before 3 and opens a merged part after it finds that name gone: an error, and never rows that are
missing or there twice; names are not used again. Our own readers notice that the folder is another and read anew. Who
is still listing the old folder lists it whole: it is kept, out of the way, until a start that is `GRACE_S` later.

Rejected: a merged part under an old part's name, then the others removed (rows twice between); the others removed
first (rows missing between); marks in the merged part that say what it replaces (only our readers would know).
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError
from pipeline.store.buckets import is_remote
from pipeline.store.dataset import open_dataset
from pipeline.store.exchange import exchange
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import Journal
from pipeline.store.merging import Merge, beside, finish_merges
from pipeline.store.parts import folder, list_parts, made_folder, sync_folder
from pipeline.store.places import state_folder
from pipeline.store.rewriting import rewrite
from pipeline.store.schema import Kind
from pipeline.store.shards import unmarked

__all__ = ["Compacted", "compact"]


@dataclass(frozen=True, slots=True)
class Compacted:
    """Parts of all tables before and after."""

    before: int
    after: int


def compact(output: Path, rows_per_file: int = 50_000, compression: str = "zstd") -> Compacted:
    """Merges neighbouring parts of fewer than half as many rows into parts of at most so many.

    Raises:
        OutputError: it is no dataset, cannot be written, or its file system cannot exchange folders.
        OutputHeldError: a run holds it.
    """
    if is_remote(str(output)):
        raise OutputError(
            f"{output}: parts in an object store are not merged, since it cannot exchange many for one in one step; "
            "copy the dataset to a folder, compact it there, and copy it to a new place"
        )
    if not any(folder(output, kind).is_dir() for kind in Kind):
        raise OutputError(f"{output}: is no dataset: it has no results, failures or requests folder")
    settings = DatasetSettings(output, rows_per_file, compression=compression)
    with open_dataset(settings) as journal:
        before = _count(output)
        for kind in Kind:
            merges = _planned(output, kind, rows_per_file)
            if merges:
                try:
                    _merge(journal, output, compression, kind, merges)
                except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise OutputError(
                        f"{folder(output, kind)}: not compacted, nothing was changed: {reason}"
                    ) from error
        return Compacted(before, _count(output))


def _planned(output: Path, kind: Kind, most: int) -> list[Merge]:
    """Runs of small parts, in the order of their names, which is that of their rows."""
    groups: list[list[str]] = [[]]
    rows = 0
    for path in list_parts(output, kind):
        count = pq.read_metadata(path).num_rows
        if 2 * count > most or rows + count > most:
            groups.append([])
            rows = 0
        if 2 * count <= most:
            groups[-1].append(path.name)
            rows += count
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ-%f}"
    merged = (names for names in groups if len(names) > 1)
    # Named after its first part, so that the order of names stays that of the rows; it may hold rows of all shards.
    return [Merge(f"{Path(unmarked(names[0])).stem}-compacted-{moment}.parquet", tuple(names)) for names in merged]


def _merge(journal: Journal, output: Path, compression: str, kind: Kind, merges: list[Merge]) -> None:
    table = folder(output, kind)
    place = beside(output, kind)
    shutil.rmtree(place, ignore_errors=True)
    made_folder(place)
    gone = {name for merge in merges for name in merge.old}
    for merge in merges:
        sources = [table / name for name in merge.old]
        rewrite(place / merge.new, kind, sources, compression)
        if pq.read_metadata(place / merge.new).num_rows != sum(pq.read_metadata(one).num_rows for one in sources):
            raise OSError(f"{merge.new}: has other rows than the parts that it is made of")
    for entry in table.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            raise OSError(f"{entry}: is a folder; move it elsewhere")
        if entry.name not in gone:
            os.link(entry, place / entry.name, follow_symlinks=False)
    shutil.copystat(table, place)
    sync_folder(place)
    with journal.transaction():
        journal.note_merges(kind, json.dumps([[merge.new, *merge.old] for merge in merges]))
    exchange(table, place)
    sync_folder(output)
    sync_folder(state_folder(output))
    os.utime(place, (time.time(), time.time()))
    finish_merges(journal, output)


def _count(output: Path) -> int:
    return sum(len(list_parts(output, kind)) for kind in Kind)
