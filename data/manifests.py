"""Writes the manifest as JSONL and Parquet from `photos.csv`, the one that people edit.

Run it after each change of `photos.csv`: `python data/manifests.py`. A folder as its argument is written to instead
of this one. It refuses a CSV whose columns are not the ones below, and a year that is not a whole number.
"""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("credit", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("year", pa.int32()),
    ]
)
Row = dict[str, str | int | None]


def read_rows(path: Path) -> list[Row]:
    """The rows of the CSV in its order; an empty year is unknown, so None.

    Raises:
        ValueError: other columns than the schema's, or a year that is no whole number.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != SCHEMA.names:
            raise ValueError(f"{path}: columns {reader.fieldnames}; expected {SCHEMA.names}")
        return [{**row, "year": int(row["year"]) if row["year"] else None} for row in reader]


def write_jsonl(rows: list[Row], path: Path) -> None:
    """One JSON object a line, in UTF-8."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def write_parquet(rows: list[Row], path: Path) -> None:
    """The rows in the types of `SCHEMA`."""
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")


def main(folder: Path) -> None:
    """Writes both files to the folder and says so."""
    rows = read_rows(HERE / "photos.csv")
    write_jsonl(rows, folder / "photos.jsonl")
    write_parquet(rows, folder / "photos.parquet")
    print(f"{len(rows)} rows in {folder / 'photos.jsonl'} and {folder / 'photos.parquet'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
