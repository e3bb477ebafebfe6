"""Rows of a manifest that become items only when they are asked for.

A run over a dataset that is done needs of each row its id and what tells its images from others, and no item: with
ten million rows that is the difference between minutes and the better part of an hour. So a batch is a sequence whose
items are made all at once when the first of them is looked at, and which tells ids and digests without that.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import overload

from pipeline.manifest.identity import MAX_ID_BYTES, refs_digest, text_digest
from pipeline.records import Item

__all__ = ["LazyItems", "Row", "glanced", "rows_of"]

Row = tuple[str, str] | None
"""What a row shows at a glance: its id, and its one image as text; `None` where only its item tells."""
_PLAIN_ID_CHARS = MAX_ID_BYTES // 4
"""An id of no more characters than this is not too long in bytes."""


class LazyItems(Sequence[Item]):
    """A batch of items.

    Args:
        rows: at a glance, in order.
        made: makes the items.
        place: where a row stands, by its number in the batch.
    """

    def __init__(self, rows: list[Row], made: Callable[[], list[Item]], place: Callable[[int], str]) -> None:
        self._rows = rows
        self._made = made
        self._items: list[Item] | None = None
        self.place = place

    def __len__(self) -> int:
        """How many rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """An item, or several."""
        if self._items is None:
            self._items = self._made()
        return self._items[index]

    def ids(self) -> list[str]:
        """The id of each row."""
        return [row[0] if row is not None else self[at].item_id for at, row in enumerate(self._rows)]

    def digests(self) -> list[bytes]:
        """16 bytes for each row that are equal for equal image references, as `refs_digest` has them."""
        return [
            text_digest(row[1]) if row is not None else refs_digest(self[at].images)
            for at, row in enumerate(self._rows)
        ]


def glanced(items: Sequence[Item]) -> LazyItems:
    """A batch of items that are made already, or lazy ones as they are."""
    if isinstance(items, LazyItems):
        return items
    return LazyItems([None] * len(items), lambda: list(items), lambda at: items[at].place)


def rows_of(ids: Iterable[object], images: Iterable[object], separator: str | None) -> list[Row]:
    """Rows of a manifest with an id column and one image column; one that is not plain is `None`.

    Args:
        ids: texts, or whole numbers.
        images: the references.
        separator: a text that holds it is a list of references.
    """
    return [
        (f"{item_id}", image)
        if ((type(item_id) is str and 0 < len(item_id) <= _PLAIN_ID_CHARS) or type(item_id) is int)
        and type(image) is str
        and image
        and (separator is None or separator not in image)
        else None
        for item_id, image in zip(ids, images, strict=True)
    ]
