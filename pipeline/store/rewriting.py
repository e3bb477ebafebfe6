"""A part made of other parts: some rows left out, some added, one rename to put it in its place.

Rows keep their columns; where the `manifest` and `data` columns of the sources differ in type, they are brought to one
as readers do it. A row group is in memory at a time, and every page is checked as it is read: what cannot be read is
never rewritten as if it were whole.
"""

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from pipeline.store.buckets import Place
from pipeline.store.parts import Stamp, opened_part, write_part
from pipeline.store.schema import Kind
from pipeline.store.tables import checked_batch, joined

__all__ = ["Left", "rewrite"]

_ROW_GROUP = 4096
Left = Callable[[pa.RecordBatch], list[bool]]
"""Which rows of a batch stay."""


def rewrite(  # noqa: PLR0913 - what goes in, what stays, what is added
    target: Place,
    kind: Kind,
    sources: Sequence[Place],
    compression: str,
    *,
    stays: Left | None = None,
    added: Sequence[pa.Table] = (),
) -> Stamp:
    """Writes the rows of the sources, in order, and then the added ones, to `target`, which may be one of the sources.

    Raises:
        OSError: a source cannot be read, or the target cannot be written; nothing has changed then.
        pa.ArrowException: a source is damaged, or no part of this table.
    """
    empty = [_empty(source, kind) for source in sources] + [table.slice(0, 0) for table in added]

    def tables() -> Iterator[pa.Table]:
        for source in sources:
            yield from _kept(source, kind, stays)
        yield from added

    shapes = _settled(tables, empty, kind)
    return write_part(target, joined(shapes, kind).schema, _grouped(tables(), shapes, kind), compression)


def _settled(tables: Callable[[], Iterator[pa.Table]], empty: list[pa.Table], kind: Kind) -> list[pa.Table]:
    """Tables without rows that make every group come to one type.

    Where types differ, values decide: a whole number that no double holds makes its column text. So all are looked at.
    """
    if all(table.schema.equals(empty[0].schema) for table in empty):
        return empty
    shapes = list(empty)
    for group in _grouped(tables(), empty, kind):
        if not group.schema.equals(joined(shapes, kind).schema):
            shapes.append(group.slice(0, 0))
    return shapes


def _empty(source: Place, kind: Kind) -> pa.Table:
    """No rows of a part's types."""
    with opened_part(source) as part:
        schema = part.schema_arrow
    batch = pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)
    return pa.Table.from_batches([checked_batch(batch, kind)])


def _kept(source: Place, kind: Kind, stays: Left | None) -> Iterator[pa.Table]:
    with opened_part(source) as part:
        rows = 0
        for batch in part.iter_batches(_ROW_GROUP):
            rows += len(batch)
            checked = checked_batch(batch, kind)
            kept = checked if stays is None else checked.filter(pa.array(stays(checked), pa.bool_()))
            yield pa.Table.from_batches([kept])
        if rows != part.metadata.num_rows:
            raise pa.ArrowInvalid(f"{source}: its pages have other rows than it says")


def _grouped(tables: Iterator[pa.Table], empty: list[pa.Table], kind: Kind) -> Iterator[pa.Table]:
    """Tables of a row group each; the empty ones go along, so that each comes to the same schema."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROW_GROUP:
            yield joined([*empty, *waiting], kind)
            waiting = []
    if sum(map(len, waiting)):
        yield joined([*empty, *waiting], kind)
