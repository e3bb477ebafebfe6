"""`csv` and `jsonl`: one file, `item_id`, `caption`, then the manifest's columns.

In csv a text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a tab or a line end) gets
an apostrophe before it, as OWASP's page on CSV injection advises; lists, structs and bytes are written as JSON.
"""

import base64
import csv
import json
from collections.abc import Iterable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TextIO

from pipeline.exports.captions import Caption, Captions

__all__ = ["as_json", "open_new", "write_csv", "write_jsonl"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_OWN = ("item_id", "caption")


def write_csv(captions: Captions, sink: TextIO) -> int:
    """Writes the table; returns the number of rows."""
    names = [name for name in captions.columns() if name not in _OWN]
    table = csv.writer(sink)
    table.writerow([*_OWN, *names])
    count = 0
    for one in captions:
        row = [one.item_id, one.text, *(one.columns.get(name) for name in names)]
        table.writerow([_cell(value) for value in row])
        count += 1
    return count


def write_jsonl(captions: Iterable[Caption], sink: TextIO) -> int:
    """Writes an object a line; returns their number."""
    count = 0
    for one in captions:
        line = {"item_id": one.item_id, "caption": one.text}
        line |= {name: value for name, value in one.columns.items() if name not in line}
        sink.write(f"{as_json(line)}\n")
        count += 1
    return count


def as_json(value: Any) -> str:
    """JSON of what Parquet can hold: times in ISO form, bytes in base64, decimals as texts."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list | dict | bytes):
        return as_json(value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def open_new(path: Path) -> TextIO:
    """A new file for a table; never over one that exists.

    Raises:
        FileExistsError: it exists.
    """
    return path.open("x", encoding="utf-8", newline="")
