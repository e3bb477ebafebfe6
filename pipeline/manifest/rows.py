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
        columns: the manifest's columns.
    """

    def __init__(self, settings: RowSettings, columns: Sequence[str]) -> None:
        self._settings = settings
        self._has_id = settings.id_column in columns

    def item(self, row: Mapping[str, Any], extras: Extras | None, place: str) -> Item:
        """The item of a row; with `problem` set where the row can go no further."""
        problem: ItemError | None = None
        images: tuple[ImageRef, ...] = ()
        item_id = ""
        if self._has_id:
            try:
                item_id = checked_id(row.get(self._settings.id_column), place)
            except ItemError as error:
                problem = error
        try:
            images = tuple(ref for name in self._settings.image_columns for ref in self._images(row, name, place))
        except ItemError as error:
            problem = problem or error
        if not item_id:
            item_id = hashed_id(images) if images else raw_id(_canonical(row))
        return Item(item_id, images, row, extras, place, problem)

    def _images(self, row: Mapping[str, Any], name: str, place: str) -> list[ImageRef]:
        value = row.get(name)
        if isinstance(value, str) and self._settings.list_separator:
            value = [part for part in value.split(self._settings.list_separator) if part] or None
        if value is None or value in ("", []):
            if len(self._settings.image_columns) > 1:
                return []
            raise RowError(ErrorType.IMAGE_MISSING, f'{place}: column "{name}" names no image')
        values = value if isinstance(value, list) else [value]
        return [_ref(one, name, place) for one in values]


def _ref(value: object, name: str, place: str) -> ImageRef:
    if isinstance(value, str) and value:
        return ImageRef(value, column=name)
    if isinstance(value, bytes):
        return ImageRef(f"sha256:{sha256(value).hexdigest()}", value, name)
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):
        path, raw = value.get("path"), value.get("bytes")
        if isinstance(raw, bytes):
            source = path if isinstance(path, str) and path else f"sha256:{sha256(raw).hexdigest()}"
            return ImageRef(source, raw, name)
        if isinstance(path, str) and path:
            return ImageRef(path, column=name)
    raise RowError(
        ErrorType.IMAGE_MISSING,
        f'{place}: column "{name}" holds {type(value).__name__}; allowed: a path, URL, bytes, '
        "a struct of bytes and path, or a list of these",
    )


def _canonical(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, default=repr).encode("utf-8", "surrogatepass")
