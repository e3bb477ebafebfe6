"""What a writer is told of its dataset and of its run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.store.buckets import Place
from pipeline.store.places import state_path
from pipeline.store.shards import Shard

__all__ = ["DatasetSettings", "RunIdentity"]


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """How the dataset is cut.

    Attributes:
        output: the dataset's folder.
        rows_per_file: a part is written when this many rows of its table wait; also the most rows of one part.
        flush_seconds: parts are written at least this often while rows wait.
        compression: Parquet codec.
        shard: the share of the items that this writer is about, `None` for all of them.
    """

    output: Place
    rows_per_file: int = 50_000
    flush_seconds: float = 60.0
    compression: str = "zstd"
    shard: Shard | None = None

    @property
    def state(self) -> Path:
        """Where the journal and the lock of this writer lie; `open_dataset` makes it."""
        return state_path(self.output, self.shard)

    def part_name(self, origin: str, number: int) -> str:
        """The name of a part that this writer makes: of which run or moment, and which of its parts."""
        mark = f"{self.shard.mark}-" if self.shard is not None else ""
        return f"part-{origin}-{mark}{number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What every row of a run carries, and what its `runs` entry begins with.

    Attributes:
        data_schema: the JSON schema behind the `data` column, as canonical JSON text.
        body: what `runs/*.json` says of the run when it is killed.
    """

    run_id: str
    fingerprint: str
    data_schema: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
