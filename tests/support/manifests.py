"""Manifests written to real files and read back as items."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest.producer import ManifestSettings, open_manifest
from pipeline.records import Item

__all__ = ["extras_of", "ids", "items_of", "problems", "sources", "write", "write_parquet"]


def write(path: Path, content: str | bytes) -> Path:
    """The content in a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """A Parquet file of these columns."""
    pq.write_table(pa.table(columns), path, **options)
    return path


def items_of(path: Path | str, stdin: bytes | None = None, **settings: Any) -> list[Item]:
    """Every item of a manifest, read to its end."""
    source = None if stdin is None else BytesIO(stdin)
    with open_manifest(ManifestSettings(str(path), **settings), source) as manifest:
        return [item for batch in manifest.batches() for item in batch]


def ids(items: list[Item]) -> list[str]:
    """The ids, in order."""
    return [item.item_id for item in items]


def sources(items: list[Item]) -> list[list[str]]:
    """The image references of each item."""
    return [[ref.source for ref in item.images] for item in items]


def problems(items: list[Item]) -> list[str | None]:
    """What is wrong with each item, `None` for nothing."""
    return [None if item.problem is None else str(item.problem) for item in items]


def extras_of(item: Item) -> dict[str, Any]:
    """The item's other columns, after the same journey by IPC message and Parquet that the dataset makes."""
    assert item.extras is not None
    schema = pa.ipc.read_schema(pa.py_buffer(item.extras.schema_ipc()))
    batch = pa.ipc.read_record_batch(pa.py_buffer(item.extras.row_ipc()), schema)
    file = BytesIO()
    pq.write_table(pa.table({"manifest": batch.to_struct_array()}), file)
    column = pq.read_table(file).column("manifest")
    return {"types": {field.name: field.type for field in schema}, "values": column[0].as_py()}
