"""What every export is made of: the captions under the newest fingerprint, in order, a part in memory at a time.

Where reviewers have decided about them, they are as the reviewers left them (see `store.reviews`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.store.buckets import Place
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status
from pipeline.store.reviews import newest_reviews, reviewed_rows
from pipeline.store.schema import Kind
from pipeline.store.tables import read_part

__all__ = ["Caption", "Captions"]


@dataclass(frozen=True, slots=True)
class Caption:
    """One answered item.

    Attributes:
        images: sources, in the order in which they were sent.
        columns: the manifest's other columns.
        data: the structured answer, where there is one.
    """

    item_id: str
    text: str
    images: tuple[str, ...]
    columns: dict[str, Any]
    data: Any = None


class Captions:
    """The captions of a dataset, to be walked as often as an export needs.

    Args:
        output: the dataset.
        reviewed: whether reviews are applied: edited captions for the answered ones, rejected ones left out.

    Raises:
        OutputError: it is no dataset.
    """

    def __init__(self, output: Place, *, reviewed: bool = True) -> None:
        self._output = output
        self._fingerprint = next(iter(dataset_status(output).fingerprints), None)
        found = newest_reviews(output) if reviewed else {}
        self._reviews = {key: review for key, review in found.items() if key[1] == self._fingerprint}

    def __iter__(self) -> Iterator[Caption]:
        for path in list_parts(self._output, Kind.RESULTS):
            for batch in read_part(path, Kind.RESULTS, None, self._fingerprint):
                for row in reviewed_rows(batch, self._reviews):
                    yield _caption(row)

    def columns(self) -> list[str]:
        """Names of the manifest's columns over all parts, in the order in which they are met."""
        found: dict[str, None] = {}
        for path in list_parts(self._output, Kind.RESULTS):
            for batch in read_part(path, Kind.RESULTS, None, self._fingerprint)[:1]:
                if "manifest" in batch.schema.names:
                    found |= dict.fromkeys(field.name for field in batch.schema.field("manifest").type)
        return list(found)


def _caption(row: dict[str, Any]) -> Caption:
    return Caption(
        row["item_id"],
        row["caption"],
        tuple(image["source"] for image in row["images"]),
        row.get("manifest") or {},
        row.get("data"),
    )
