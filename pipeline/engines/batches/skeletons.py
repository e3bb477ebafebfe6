"""What is kept of an item while it is in a batch: all that settling it needs, but for the image itself. Pure.

The rendered prompt is in it, so that an item is settled as it was asked although its template's column has changed.
"""

import json
from dataclasses import asdict, dataclass, replace

from pipeline.engines.preparing import ReadyItem
from pipeline.prompts.plan import TurnPlan
from pipeline.records import ImageLink, ImageRecord, Item, PreparedImage
from pipeline.store.batch_records import BatchItem, Packed

__all__ = ["packed", "unpacked"]


@dataclass(frozen=True, slots=True)
class _KeptExtras:
    """The manifest's other columns of a row as they were kept."""

    schema: bytes
    row: bytes

    def schema_ipc(self) -> bytes:
        """The serialized Arrow schema."""
        return self.schema

    def row_ipc(self) -> bytes:
        """The row."""
        return self.row


def packed(ready: ReadyItem) -> Packed:
    """What is kept of an item."""
    plan, extras = ready.plan, ready.item.extras
    places = {id(image): number for number, image in enumerate(ready.images)}
    skeleton = {
        "texts": plan.texts,
        "turns": [[places[id(image)] for image in turn] for turn in plan.images],
        "prefill": plan.prefill,
        "label": plan.label,
        "images": [[asdict(image.record), asdict(image.link) if image.link else None] for image in ready.images],
    }
    return Packed(
        json.dumps(skeleton),
        extras.schema_ipc() if extras else None,
        extras.row_ipc() if extras else None,
        ready.images[0].thumbnail if ready.images else None,
    )


def unpacked(item: BatchItem) -> ReadyItem:
    """The item as it was asked, its images without their bytes."""
    kept, said = item.packed, json.loads(item.packed.skeleton)
    images = [
        PreparedImage(
            b"",
            ImageRecord(**{**record, "warnings": tuple(record["warnings"])}),
            link=ImageLink(**link) if link else None,
        )
        for record, link in said["images"]
    ]
    if images:
        images[0] = replace(images[0], thumbnail=kept.thumbnail)
    extras = None
    if kept.extras_schema is not None and kept.extras is not None:
        extras = _KeptExtras(kept.extras_schema, kept.extras)
    turns = tuple(tuple(images[number] for number in turn) for turn in said["turns"])
    plan = TurnPlan(tuple(said["texts"]), turns, said["prefill"], said["label"])
    return ReadyItem(item.key, Item(item.item_id, (), extras=extras), tuple(images), plan)
