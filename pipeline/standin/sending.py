"""A message as it goes out: whole, or changed as a misfortune wants it, and whether it is billed."""

import json
from dataclasses import dataclass
from typing import Any

from pipeline.standin.answer import Composed
from pipeline.standin.delivery import Delivery

__all__ = ["Sent", "sent_message"]


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer as it goes out: its bytes, whether it is billed, and what the log says of it."""

    body: bytes
    billed: bool
    stop_reason: str | None
    caption: str

    @property
    def said(self) -> dict[str, Any]:
        """What the log says of it."""
        return {"billed": self.billed, "stop_reason": self.stop_reason, "caption": self.caption}


def sent_message(composed: Composed, delivery: Delivery) -> Sent:
    """The message after what a misfortune does to it. A refusal without any text is free."""
    if delivery.body is not None or delivery.endless:
        return Sent(delivery.body or b"", True, None, "")
    changed = {**composed.message, **delivery.change}
    message = {key: value for key, value in changed.items() if value is not None or key not in delivery.change}
    blocks = message["content"] if isinstance(message["content"], list) else []
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    free = message["stop_reason"] == "refusal" and not blocks
    return Sent(json.dumps(message).encode(), not free, message["stop_reason"], text)
