"""What a writer is told of its dataset and of its run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DatasetSettings", "RunIdentity"]


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """How the dataset is cut.

    Attributes:
        output: the dataset's folder.
        rows_per_file: a part is written when this many rows of its table wait; also the most rows of one part.
        flush_seconds: parts are written at least this often while rows wait.
        compression: Parquet codec.
    """

    output: Path
    rows_per_file: int = 50_000
    flush_seconds: float = 60.0
    compression: str = "zstd"


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
