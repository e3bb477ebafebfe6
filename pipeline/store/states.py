"""How items stand, from their rows of `results` and `failures`: the newest row decides. No I/O.

Only what decides is held, 40 bytes a row: items go by the 16 bytes by which the journal knows them, so that ids may be
long, and a duplicate id's failure is told from the item whose id it shares.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ErrorType
from pipeline.store.keys import duplicate_key, item_key
from pipeline.store.schema import TIMESTAMP

__all__ = ["STATE_COLUMNS", "States"]

STATE_COLUMNS = ["item_id", "fingerprint", "created_at"]
"""What `States.add` needs of an answer; of a failure `error_type` and `images` too."""


class States:
    """The rows of `results` and `failures` reduced to what decides how an item stands."""

    _SCHEMA = pa.schema(
        [
            ("item", pa.binary(16)),
            ("fingerprint", pa.int32()),
            ("created_at", TIMESTAMP),
            ("outcome", pa.int32()),
            ("row", pa.int64()),
        ]
    )

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._fingerprints: list[str] = []
        self._types: list[str | None] = [None]

    def add(self, rows: pa.RecordBatch, row: pa.Array | None = None) -> None:
        """Takes rows of `results`, or of `failures` where there is an `error_type`."""
        failed = "error_type" in rows.schema.names
        outcome = _coded(rows["error_type"], self._types) if failed else pa.repeat(0, len(rows))
        columns = [
            _keys(rows),
            _coded(rows["fingerprint"], self._fingerprints),
            rows["created_at"],
            outcome,
            pa.repeat(-1, len(rows)) if row is None else row,
        ]
        arrays = [column.cast(one.type) for column, one in zip(columns, self._SCHEMA, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._SCHEMA))

    def newest(self) -> pa.Table:
        """Each item's newest row under each fingerprint; an answer wins over a failure of the same microsecond."""
        return _newest(pa.Table.from_batches(self._batches, self._SCHEMA), ["item", "fingerprint"])

    def counts(self) -> tuple[dict[str | None, int], dict[str, dict[str | None, int]]]:
        """How often each error type is an item's newest outcome, `None` for the answers: over all, and by fingerprint.

        The fingerprint of the newest row comes first.
        """
        rows = self.newest().sort_by([("created_at", "descending")])
        by_fingerprint = {
            self._fingerprints[code]: self._outcomes(rows.filter(pc.equal(rows["fingerprint"], code)))
            for code in pc.unique(rows["fingerprint"]).to_pylist()
        }
        overall = rows if len(self._fingerprints) < 2 else _newest(rows, ["item"])
        return self._outcomes(overall), by_fingerprint

    def _outcomes(self, rows: pa.Table) -> dict[str | None, int]:
        counts = pc.value_counts(rows["outcome"]).to_pylist()
        return {self._types[one["values"]]: one["counts"] for one in counts}


def _newest(rows: pa.Table, keys: list[str]) -> pa.Table:
    rest = [name for name in rows.column_names if name not in keys]
    rows = rows.sort_by([("created_at", "ascending"), ("outcome", "descending")])
    groups = rows.group_by(keys, use_threads=False).aggregate([(name, "last") for name in rest])
    return groups.rename_columns([name.removesuffix("_last") for name in groups.column_names])


def _keys(rows: pa.RecordBatch) -> pa.Array:
    """The journal's keys of the rows' items."""
    ids = rows["item_id"].to_pylist()
    keys = [item_key(item_id or "") for item_id in ids]
    if "error_type" in rows.schema.names:
        twins = pc.equal(rows["error_type"], ErrorType.DUPLICATE_ID.value)
        for at in pc.indices_nonzero(pc.fill_null(twins, False)).to_pylist():
            keys[at] = duplicate_key(ids[at] or "", [image["source"] for image in rows["images"][at].as_py() or ()])
    return pa.array(keys, pa.binary(16))


def _coded(texts: pa.Array, known: list[Any]) -> pa.Array:
    """Each text as its place in `known`, which takes up new ones."""
    texts = pc.fill_null(texts, "")
    known += [text for text in pc.unique(texts).to_pylist() if text not in known]
    return pc.index_in(texts, value_set=pa.array(known, pa.string()))
