"""Where a dataset's state lies: the private folders of journal and lock, for a whole output and for its shards.

They are in the output itself, or, where that is in an object store, in a local folder (see `buckets`).
"""

from pathlib import Path

from pipeline.errors import OutputError
from pipeline.store.buckets import BucketPath, Place
from pipeline.store.parts import made_folder
from pipeline.store.shards import Shard

__all__ = ["JOURNAL", "shards_folder", "state_folder", "state_path"]

JOURNAL = "journal.sqlite"


def state_path(output: Place, shard: Shard | None = None) -> Path:
    """Where the state of an output, or of one of its shards, lies."""
    place = output.state if isinstance(output, BucketPath) else output / "_state"
    return place if shard is None else place / "shards" / shard.mark


def state_folder(output: Place, shard: Shard | None = None) -> Path:
    """The folder of journal and lock, made with mode 0700 where there is none.

    Raises:
        OutputError: it is a link: what is private may not lie elsewhere.
        OSError: it cannot be made.
    """
    place = state_path(output)
    for folder in (place,) if shard is None else (place, shards_folder(output), state_path(output, shard)):
        if folder.is_symlink():
            raise OutputError(f"{folder}: is a link; remove it, or choose another output.path")
        place = made_folder(folder, 0o700)
    return place


def shards_folder(output: Place) -> Path:
    """The folder in which the states of shards lie."""
    return state_path(output) / "shards"
