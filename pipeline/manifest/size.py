"""About how many rows a manifest has, found without reading them: for a progress bar, never for a decision."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest.producer import ManifestSettings

__all__ = ["rows_hint"]

_CHUNK = 1 << 20
_MOST_BYTES = 2_000_000_000
_WITH_HEADER = (".csv", ".tsv")


def rows_hint(settings: ManifestSettings) -> int | None:
    """Rows by the file's own metadata (Parquet) or its line ends (csv, tsv, jsonl, txt).

    Quoted line ends and blank lines are counted too, so it may be a little high. `None` for standard input, folders,
    globs, Arrow files, what is over 2 GB, and whatever cannot be read.
    """
    path = Path(settings.path)
    try:
        if not path.is_file() or settings.path == "-":
            return None
        suffix = path.suffix.lower() if settings.format == "auto" else f".{settings.format}"
        if suffix in (".parquet", ".pq"):
            return int(pq.read_metadata(path).num_rows)
        if suffix in (".arrow", ".feather", ".ipc") or path.stat().st_size > _MOST_BYTES:
            return None
        return max(0, _lines(path) - (suffix in _WITH_HEADER))
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None


def _lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")
