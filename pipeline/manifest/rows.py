"""From one raw row to an `Item`: its id, its images, its columns. No I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.errors import ErrorType, ItemError, RowError
from pipeline.manifest.identity import checked_id, hashed_id, raw_id
from pipeline.records import Extras, ImageRef, Item

__all__ = ["RowReader", "RowSettings", "broken_row"]


@dataclass(frozen=True, slots=True)
class RowSettings:
    """Which columns mean what.

    Attributes:
        id_column: names the item; hashed from the images where the manifest has no such column.
        image_columns: hold the images; empty for text alone.
        list_separator: between several images in one text field, `None` where lists are lists.
    """

    id_column: str
    image_columns: tuple[str, ...]
    list_separator: str | None = None


def broken_row(place: str, raw: bytes, reason: str) -> Item:
    """The item of a row that cannot be read: it costs itself, and says where it stands and why."""
    return Item(raw_id(raw), (), place=place, problem=RowError(ErrorType.INVALID_REQUEST, f"{place}: {reason}"))


class RowReader:
    """Reads the rows of one manifest.

    Args:
        settings: which columns mean what.
        columns: the manifest's columns, as far as they are known; a row of jsonl may bring an id that others lack.
    """

    def __init__(self, settings: RowSettings, columns: Sequence[str]) -> None:
        self._settings = settings
        self._has_id = settings.id_column in columns

    def item(self, row: Mapping[str, Any], extras: Extras | None, place: str) -> Item:
        """The item of a row; with `problem` set where the row can go no further."""
        problem: ItemError | None = None
        images: tuple[ImageRef, ...] = ()
        item_id = ""
        if self._has_id or self._settings.id_column in row:
            try:
                item_id = checked_id(row.get(self._settings.id_column), place)
            except ItemError as error:
                problem = error
        try:
            images = self._images(row, place)
        except ItemError as error:
            problem = problem or error
        if not item_id:
            item_id = hashed_id(images) if images else raw_id(_canonical(row))
        return Item(item_id, images, row, extras, place, problem)

    def _images(self, row: Mapping[str, Any], place: str) -> tuple[ImageRef, ...]:
        """With several columns some may be empty, but not all of them."""
        names = self._settings.image_columns
        images = tuple(_ref(value, name, place) for name in names for value in self._values(row.get(name)))
        if names and not images:
            columns = ", ".join(f'"{name}"' for name in names)
            raise RowError(ErrorType.IMAGE_MISSING, f"{place}: column {columns} names no image")
        return images

    def _values(self, cell: object) -> list[object]:
        if isinstance(cell, str):
            separator = self._settings.list_separator
            return [part for part in (cell.split(separator) if separator else [cell]) if part]
        if isinstance(cell, list):
            return cell
        return [] if cell is None or _is_empty_struct(cell) else [cell]


def _ref(value: object, name: str, place: str) -> ImageRef:
    if isinstance(value, str) and value:
        return ImageRef(value, column=name)
    if isinstance(value, bytes):
        return ImageRef(f"sha256:{sha256(value).hexdigest()}", value, name)
    if isinstance(value, Mapping):
        path, raw = value.get("path"), value.get("bytes")
        source = path if isinstance(path, str) else ""
        if isinstance(raw, bytes):
            return ImageRef(source or f"sha256:{sha256(raw).hexdigest()}", raw, name)
        if source and raw is None:
            return ImageRef(source, column=name)
    raise RowError(
        ErrorType.IMAGE_MISSING,
        f'{place}: column "{name}" holds {_kind(value)}; allowed: a path, URL, bytes, '
        "a struct of bytes and path, or a list of these",
    )


def _is_empty_struct(cell: object) -> bool:
    return isinstance(cell, Mapping) and "path" in cell and not any(cell.get(name) for name in ("bytes", "path"))


def _kind(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), str):
        return "a struct whose bytes are text"
    names = {dict: "a struct without bytes or path", str: "an empty text", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _canonical(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, default=repr).encode("utf-8", "surrogatepass")
