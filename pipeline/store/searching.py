"""Rows made light enough to be searched in memory, and the search itself. No I/O.

A light row has what is searched, filtered and sorted by: about a kilobyte. The manifest's columns are there as texts,
each under its name with `COLUMN` before it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ErrorType
from pipeline.store.schema import TIMESTAMP, Kind

__all__ = ["CAPTIONED", "COLUMN", "LIGHT_COLUMNS", "LIGHT_SCHEMA", "Query", "chosen", "light_rows", "ordered"]

CAPTIONED = "captioned"
COLUMN = "="
_HEAD = ["item_id", "fingerprint", "created_at", "cost_usd", "images"]
LIGHT_COLUMNS = {
    Kind.RESULTS: [*_HEAD, "caption", "output_tokens", "warnings"],
    Kind.FAILURES: [*_HEAD, "error_type", "error_message"],
}
"""The columns of a part that light rows are made of; `manifest` too, where there is one."""

LIGHT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("item_id", pa.string()),
        ("fingerprint", pa.string()),
        ("created_at", TIMESTAMP),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("warnings", pa.string()),
        ("cost_usd", pa.float64()),
        ("output_tokens", pa.int64()),
        ("length", pa.int64()),
    ]
)
_SORTS = {"time": "created_at", "id": "item_id", "cost": "cost_usd", "tokens": "output_tokens", "length": "length"}


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for.

    Attributes:
        words: all of them must be in the id, caption, message, source or warnings; upper and lower case are one.
        kind: `captioned`, an error type, or empty for all.
        warning: one that a row must have.
        column: a column of the manifest, whose text must hold `value`.
        sort: `time`, `id`, `cost`, `tokens`, `length` (of the caption), or `column:NAME`.
        among: ids of items, if only these are wanted.
        apart_from: ids of items that are not.
    """

    words: tuple[str, ...] = ()
    kind: str = ""
    warning: str = ""
    column: str = ""
    value: str = ""
    sort: str = "time"
    descending: bool = True
    among: frozenset[str] | None = None
    apart_from: frozenset[str] = frozenset()


def light_rows(kind: Kind, rows: pa.Table) -> pa.Table:
    """Rows of a table, cut to what is searched; `manifest` may be absent."""
    failed = kind is Kind.FAILURES
    bodies = rows.drop_columns([name for name in ("manifest", "thumbnail") if name in rows.column_names]).to_pylist()
    warnings = [_warnings(body) for body in bodies]
    kinds = [body["error_type"] or "" for body in bodies] if failed else [CAPTIONED] * len(bodies)
    captions = [body["error_message" if failed else "caption"] or "" for body in bodies]
    texts = [_text(body, caption, marks) for body, caption, marks in zip(bodies, captions, warnings, strict=True)]
    values = {
        "key": [_key(body["item_id"], mark, text) for body, mark, text in zip(bodies, kinds, texts, strict=True)],
        "kind": kinds,
        "text": texts,
        "warnings": warnings,
        "length": [0 if failed else len(caption) for caption in captions],
        "output_tokens": [body.get("output_tokens") for body in bodies],
    }
    columns = [
        pa.array(values[field.name], field.type) if field.name in values else rows[field.name].cast(field.type)
        for field in LIGHT_SCHEMA
    ]
    light = pa.Table.from_arrays(columns, schema=LIGHT_SCHEMA)
    for name, texts_of in _manifest(rows):
        light = light.append_column(f"{COLUMN}{name}", texts_of)
    return light


def chosen(rows: pa.Table, query: Query) -> pa.Table:
    """The light rows that a query asks for, in the order in which they were."""
    for word in query.words:
        rows = rows.filter(pc.match_substring(rows["text"], word.lower()))
    if query.kind:
        rows = rows.filter(pc.equal(rows["kind"], query.kind))
    if query.warning:
        rows = rows.filter(pc.match_substring(rows["warnings"], f"\n{query.warning}\n"))
    column = f"{COLUMN}{query.column}"
    if query.column and query.value:
        if column not in rows.column_names:
            return rows.slice(0, 0)
        texts = pc.fill_null(rows[column], "")
        rows = rows.filter(pc.match_substring(texts, query.value, ignore_case=True))
    if query.among is not None:
        rows = rows.filter(pc.is_in(rows["item_id"], pa.array(sorted(query.among), pa.string())))
    if query.apart_from:
        rows = rows.filter(pc.invert(pc.is_in(rows["item_id"], pa.array(sorted(query.apart_from), pa.string()))))
    return rows


def ordered(rows: pa.Table, query: Query) -> pa.Table:
    """The light rows as the query sorts them; equal ones by their ids."""
    name = f"{COLUMN}{query.sort.removeprefix('column:')}"
    if query.sort.startswith("column:") and name in rows.column_names:
        values = _as_numbers(rows[name])
    else:
        values = rows[_SORTS.get(query.sort, "created_at")]
    keys = pa.table({"value": values, "id": rows["item_id"]})
    direction = "descending" if query.descending else "ascending"
    return rows.take(pc.sort_indices(keys, [("value", direction), ("id", "ascending")]))


def _as_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    given = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    try:
        return given.cast(pa.float64())
    except pa.ArrowException:
        return given


def _key(item_id: str, kind: str, text: str) -> str:
    """A duplicate id's failure is of another item than the one whose id it shares."""
    return f"{item_id}\0{text}" if kind == ErrorType.DUPLICATE_ID.value else item_id


def _warnings(body: dict[str, Any]) -> str:
    """Each warning once, between line ends."""
    found = [*(body.get("warnings") or ()), *(mark for one in body["images"] or () for mark in one["warnings"] or ())]
    return "".join(f"\n{mark}\n" for mark in dict.fromkeys(found))


def _text(body: dict[str, Any], caption: str, warnings: str) -> str:
    sources = (image["source"] or "" for image in body["images"] or ())
    return "\n".join((body["item_id"] or "", caption, body.get("error_type") or "", *sources, warnings)).lower()


def _manifest(rows: pa.Table) -> Iterable[tuple[str, pa.ChunkedArray]]:
    """The manifest's columns as texts."""
    if "manifest" not in rows.column_names or not pa.types.is_struct(rows["manifest"].type):
        return
    for number, field in enumerate(rows["manifest"].type):
        column = pc.struct_field(rows["manifest"], [number])  # a name with a dot in it would be a path
        try:
            texts = column.cast(pa.string())
        except pa.ArrowException:
            texts = pa.chunked_array([[_json(value) for value in column.to_pylist()]], pa.string())
        yield field.name, texts


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
