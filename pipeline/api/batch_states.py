"""What the service tells of batches and of their items, read defensively. No network.

`request_counts` says nothing before a batch has ended: until then every item counts as processing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pipeline.api.messages import parse_error
from pipeline.durations import parse_moment

__all__ = ["BatchState", "ItemResult", "parse_json", "parse_result", "parse_state"]

_LONGEST_NAME = 200
_KINDS = ("succeeded", "errored", "canceled", "expired")


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the service tells it.

    Attributes:
        status: `in_progress`, `canceling` or `ended`.
        items: how many requests it has.
        counts: by outcome; before the end all of them are `processing`.
        archived: whether its results are gone (29 days after its creation).
    """

    batch_id: str
    status: str
    items: int
    counts: Mapping[str, int]
    created_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    archived: bool = False
    results_url: str | None = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """Whether every item has its outcome."""
        return self.status == "ended"


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One line of a batch's results.

    Attributes:
        message: the answer's JSON, where it succeeded.
        error_type: the service's, where it errored.
        request_id: of the service's own attempt, where it tells one.
    """

    custom_id: str
    kind: Literal["succeeded", "errored", "canceled", "expired"]
    message: bytes = field(default=b"", repr=False)
    error_type: str | None = None
    error_message: str = ""
    request_id: str | None = None


def parse_state(value: object) -> BatchState | None:
    """A batch as the service describes it, `None` for what is none."""
    if not isinstance(value, dict) or not _is_name(value.get("id")):
        return None
    counts = value.get("request_counts")
    numbers = {
        name: count
        for name, count in (counts.items() if isinstance(counts, dict) else ())
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0
    }
    url = value.get("results_url")
    return BatchState(
        value["id"],
        str(value.get("processing_status")),
        sum(numbers.values()),
        numbers,
        parse_moment(value.get("created_at")),
        parse_moment(value.get("ended_at")),
        parse_moment(value.get("expires_at")),
        value.get("archived_at") is not None,
        url if isinstance(url, str) and url else None,
    )


def parse_result(line: bytes) -> ItemResult | None:
    """One line of results, `None` for one that cannot be read."""
    value = parse_json(line)
    result = value.get("result") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(result, dict) or not _is_name(value.get("custom_id")):
        return None
    kind = result.get("type")
    if kind not in _KINDS:
        return None
    if kind == "succeeded":
        return ItemResult(value["custom_id"], kind, json.dumps(result.get("message")).encode())
    if kind == "errored":
        said = parse_error(json.dumps(result.get("error")).encode(), 500)
        return ItemResult(value["custom_id"], kind, b"", said.error_type, said.message, said.request_id)
    return ItemResult(value["custom_id"], kind)


def parse_json(raw: bytes) -> Any:
    """The JSON of a body, `None` where it is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _is_name(value: object) -> bool:
    """Whether it may stand in a URL and in the journal."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isascii() and value.isprintable()
