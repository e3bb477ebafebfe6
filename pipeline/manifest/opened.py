"""What every kind of manifest has in common: settings, the checks of its columns, and batches of bounded size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import ManifestError
from pipeline.manifest.rows import RowReader, RowSettings
from pipeline.records import Item

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "MAX_COLUMNS", "Layout", "ManifestSettings", "Opened", "grouped"]

BATCH_ROWS = 1000
BATCH_BYTES = 16 * 1024 * 1024
"""Of the rows as they are read; as Python and Arrow values they take several times as much."""
MAX_COLUMNS = 10_000
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class ManifestSettings:
    """What is opened, and which columns mean what.

    Attributes:
        path: a file, a directory, a glob, or `-`.
        format: `auto` goes by the suffix.
        id_column: names an item.
        image_columns: hold the images, in order; empty for text alone.
        list_separator: between several images in one csv or tsv field.
    """

    path: str
    format: str = "auto"
    id_column: str = "id"
    image_columns: tuple[str, ...] = ("image",)
    list_separator: str = "|"


@dataclass(frozen=True, slots=True)
class Opened:
    """A manifest whose head has been read.

    Attributes:
        columns: the names of its columns.
        batches: its items in order, at most `BATCH_ROWS` and about `BATCH_BYTES` at a time; none is empty.
        complete: whether `columns` are all there can be; false for a jsonl file whose later rows may bring more.
    """

    columns: tuple[str, ...]
    batches: Iterator[Sequence[Item]]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one manifest and what they mean.

    Attributes:
        name: what messages call the manifest.
    """

    settings: ManifestSettings
    name: str

    def reader(self, columns: tuple[str, ...], list_separator: str | None = None) -> RowReader:
        """Reads the rows of a manifest with these columns.

        Raises:
            ManifestError: an image column is missing, a column stands twice, or there are more than `MAX_COLUMNS`.
        """
        if len(columns) > MAX_COLUMNS:
            raise ManifestError(f"{self.name}: {len(columns)} columns; allowed: {MAX_COLUMNS}")
        if len(set(columns)) != len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise ManifestError(f'{self.name}: column "{twice}" stands twice')
        for name in self.settings.image_columns:
            if name not in columns:
                there_are = ", ".join(columns[:100]) or "none"
                raise ManifestError(
                    f'{self.name}: no column "{name}" for the images; there are: {there_are}; '
                    "name another with manifest.image_column"
                )
        return RowReader(RowSettings(self.settings.id_column, self.settings.image_columns, list_separator), columns)

    def plain_columns(self, columns: tuple[str, ...]) -> tuple[str, str] | None:
        """The columns of id and image, where a row can be told by these two texts; `None` where it takes more."""
        images = self.settings.image_columns
        return (self.settings.id_column, images[0]) if len(images) == 1 and self.settings.id_column in columns else None

    def extras(self, columns: tuple[str, ...]) -> list[str]:
        """The columns that are neither id nor image."""
        return [name for name in columns if name not in (self.settings.id_column, *self.settings.image_columns)]


def grouped(rows: Iterator[_Row], consumed: Callable[[], int] = int) -> Iterator[list[_Row]]:
    """The rows in lists of at most `BATCH_ROWS`, cut where the counter `consumed` has grown by `BATCH_BYTES`."""
    group: list[_Row] = []
    start = consumed()
    for row in rows:
        group.append(row)
        if len(group) == BATCH_ROWS or consumed() - start >= BATCH_BYTES:
            yield group
            group, start = [], consumed()
    if group:
        yield group
