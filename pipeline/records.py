"""The values that travel through the pipeline: frozen, slotted, and free of I/O.

In the order in which an item meets them: `ImageRef` and `Item` leave the manifest, `PreparedImage` leaves
preparation, `Attempt` is one HTTP request, `Outcome` is what the item came to.
Widths and heights are pixels, sizes are bytes, durations are milliseconds, attempts and turns count from 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from pipeline.errors import ItemError

__all__ = [
    "Attempt",
    "Block",
    "Extras",
    "ImageLink",
    "ImageRecord",
    "ImageRef",
    "Item",
    "Message",
    "Mode",
    "Outcome",
    "PreparedImage",
    "ToolResult",
    "Usage",
]


class Mode(StrEnum):
    """How an answer was come by, as in `results.mode`."""

    MESSAGES = "messages"
    BATCHES = "batches"
    REUSED = "reused"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image as the manifest names it.

    Attributes:
        source: what stands in `images.source`: the path or URL as written; for inline bytes their name, else
            `"sha256:<hex>"`. An id is hashed from it, from the bytes where they are inline.
        data: the bytes themselves, where the manifest carries them (`data:` URIs are decoded by the image
            stage, not here).
        column: the manifest's column that it stands in.
    """

    source: str
    data: bytes | None = field(default=None, repr=False)
    column: str = "image"


class Extras(Protocol):
    """The manifest's other columns of one row, in their original Arrow types, carried unread to the dataset."""

    def schema_ipc(self) -> bytes:
        """The serialized Arrow schema; rows of one manifest may differ in it, as JSON lines do."""

    def row_ipc(self) -> bytes:
        """The row as one serialized Arrow record batch of length 1 under that schema."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the manifest: what is captioned, once.

    Attributes:
        item_id: the manifest's id, or the hash of the image references.
        images: the images of `manifest.image_column`, in order.
        columns: every column of the row as Python values, for the prompt's templates.
        extras: the columns beside id and image, for `results.manifest`; `None` where there are none.
        place: where the row stands, such as `photos.csv:17`.
        problem: why the row can go no further, or `None`.
    """

    item_id: str
    images: tuple[ImageRef, ...]
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extras: Extras | None = field(default=None, repr=False)
    place: str = ""
    problem: ItemError | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One element of the `images` column: the original beside what was sent.

    What was not reached before a failure is `None`.
    """

    source: str
    sha256: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sent_sha256: str | None = None
    sent_media_type: str | None = None
    sent_width: int | None = None
    sent_height: int | None = None
    sent_bytes: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageLink:
    """Where the service finds an image that does not travel with the request.

    Attributes:
        kind: `url`, or `file` for one that was uploaded.
        target: the URL as it is, its signature included, or the file's id.
    """

    kind: Literal["url", "file"]
    target: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready to send.

    Attributes:
        body: the encoded file that is sent, never more than the API takes; empty for one that is handed over as a URL.
        record: its row in the `images` column, complete but for what is not known of an image behind a URL.
        thumbnail: a small WebP, where the output asks for one.
        link: where the service finds it, `None` where the body itself is sent.
    """

    body: bytes = field(repr=False)
    record: ImageRecord
    thumbnail: bytes | None = field(default=None, repr=False)
    link: ImageLink | None = None

    @property
    def identity(self) -> str:
        """Equal for equal pictures: the hash of the bytes that are sent, else the URL."""
        if self.record.sent_sha256 is not None or self.link is None:
            return str(self.record.sent_sha256)
        return f"{self.link.kind}:{self.link.target}"


@dataclass(frozen=True, slots=True)
class Block:
    """A content block as the service wrote it, sent back to it untouched."""

    content: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool came to, for the call of this id."""

    tool_use_id: str
    parts: tuple[str | PreparedImage, ...]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: texts, images and what tools need, in the order in which they are sent."""

    role: Literal["user", "assistant"]
    parts: tuple[str | PreparedImage | Block | ToolResult, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed tokens of one answer, or the sum over several.

    The input of an answer is `input_tokens + cache_creation_input_tokens + cache_read_input_tokens`;
    `cache_creation_1h_tokens` is the part of the creation that was written for an hour.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_1h_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """The sum, field by field."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            self.cache_read_input_tokens + other.cache_read_input_tokens,
            self.cache_creation_1h_tokens + other.cache_creation_1h_tokens,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One `POST /v1/messages` that was sent: one row of `requests`.

    `usage` and `cost_usd` are `None` where no answer came. `answer` is the body of a 200, kept until the item
    is settled so that a paid turn is never paid again.
    """

    item_id: str
    turn: int
    attempt: int
    started_at: datetime
    duration_ms: float
    http_status: int | None = None
    error_type: str | None = None
    request_id: str | None = None
    mode: Mode = Mode.MESSAGES
    batch_id: str | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    cost_usd: float | None = None
    answer: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an item came to: a row of `results`, or of `failures` where `error` is set."""

    item: Item
    images: tuple[ImageRecord, ...] = ()
    error: ItemError | None = None
    caption: str = ""
    replies: tuple[str, ...] = ()
    data: Any = None
    stop_reason: str | None = None
    model: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    mode: Mode = Mode.MESSAGES
    usage: Usage = Usage()
    cost_usd: float = 0.0
    attempts: int = 0
    latency_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    thumbnail: bytes | None = field(default=None, repr=False)
