"""The first rows that one run wrote, for its summary: its parts carry its id in their names."""

from typing import Any

import pyarrow as pa

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts, opened_part
from pipeline.store.schema import Kind

__all__ = ["rows_of_run"]


def rows_of_run(output: Place, kind: Kind, run_id: str, columns: list[str], most: int) -> list[dict[str, Any]]:
    """At most `most` rows, in the order in which they were written; what cannot be read is left out."""
    rows: list[dict[str, Any]] = []
    for path in list_parts(output, kind):
        if len(rows) >= most:
            break
        if run_id not in path.name:
            continue
        try:
            with opened_part(path) as part:
                batch = next(part.iter_batches(most, columns=columns), None)
            found = batch.to_pylist() if batch is not None else []
        except (OSError, pa.ArrowException, ValueError):  # ValueError: a text that is not UTF-8
            continue
        rows += [row for row in found if row.keys() == set(columns)]
    return rows[:most]
