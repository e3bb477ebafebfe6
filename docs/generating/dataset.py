"""`dataset.md`: every column of every table, from the Arrow schemas."""

from collections.abc import Iterator

import pyarrow as pa

from generating.markdown import TEXTS, agree, table
from pipeline.store.reviews import REVIEW_SCHEMA
from pipeline.store.schema import IMAGES, Kind, part_schema

__all__ = ["dataset"]

_ABOUT = {
    Kind.RESULTS: "One row per answered item: `(item_id, fingerprint)` is unique over all parts.",
    Kind.FAILURES: "One row per item that a run gave up on. A later success does not rewrite it: an item's state is "
    "its newest row, by `created_at`, over `results` and `failures`.",
    Kind.REQUESTS: "One row per request that was sent, answered or not: the bill, line by line.",
}


def dataset() -> Iterator[str]:
    """Every column of every table."""
    yield "# The dataset"
    yield ""
    yield "`OUTPUT/results/`, `failures/` and `requests/` hold Parquet parts, `part-*.parquet`. Every part is whole:"
    yield "it is written beside its place and moved in, so readers may read at any time, also while a run writes."
    yield "`runs/*.json` has one file a run: configuration (masked), versions, totals, exit code. `_state/` is not for"
    yield "readers."
    yield ""
    for kind in Kind:
        schema = _whole_schema(kind)
        agree(f"[{kind.value}]", TEXTS[kind.value], schema.names)
        yield f"## {kind.value}"
        yield ""
        yield _ABOUT[kind]
        yield ""
        rows = [(f"`{field.name}`", _arrow(field), TEXTS[kind.value][field.name]) for field in schema]
        yield from table(["column", "type", "meaning"], rows)
    agree("[reviews]", TEXTS["reviews"], REVIEW_SCHEMA.names)
    yield "## reviews"
    yield ""
    yield "What reviewers decided in `pipeline view`, beside the answers and never in them: `reviews/part-*.parquet`."
    yield "`read_results(reviewed=True)` and the exports apply it."
    yield ""
    rows = [(f"`{field.name}`", _arrow(field), TEXTS["reviews"][field.name]) for field in REVIEW_SCHEMA]
    yield from table(["column", "type", "meaning"], rows)
    inner = IMAGES.value_type
    agree("[images]", TEXTS["images"], [field.name for field in inner])
    yield "## images"
    yield ""
    yield "The fields of each entry of the column `images`."
    yield ""
    rows = [(f"`{field.name}`", _arrow(field), TEXTS["images"][field.name]) for field in inner]
    yield from table(["field", "type", "meaning"], rows)


def _whole_schema(kind: Kind) -> pa.Schema:
    """With the columns that depend on the run, where the table can have them."""
    manifest = None if kind is Kind.REQUESTS else pa.struct([])
    is_answers = kind is Kind.RESULTS
    return part_schema(kind, manifest=manifest, data=pa.struct([]) if is_answers else None, thumbnail=is_answers)


def _arrow(field: pa.Field) -> str:
    """An Arrow type as people write it."""
    if field.name in ("manifest", "data"):
        return "struct"
    text = str(field.type).replace("item: ", "").replace("element: ", "").replace("tz=UTC", "UTC")
    return "list&lt;struct&gt;" if "struct" in text else text.replace("<", "&lt;").replace(">", "&gt;")
