"""Items as the pages show them: one flat object of plain JSON values for each, the same in report, view and compare."""

import base64
import json
from datetime import datetime
from typing import Any

from pipeline.store.reviews import Review
from pipeline.store.searching import CAPTIONED

__all__ = ["data_uri", "gallery_row"]


def gallery_row(row: dict[str, Any], review: Review | None = None) -> dict[str, Any]:
    """A whole row of `results` or `failures` as the gallery's script takes it.

    Args:
        row: with Python values, as Arrow gives them.
        review: what a reviewer decided; an edited caption is shown in the answered one's place.
    """
    images = row["images"] or []
    failed = row.get("error_type") is not None
    shown = {
        "id": row["item_id"],
        "fingerprint": row["fingerprint"],
        "failed": failed,
        "kind": row["error_type"] if failed else CAPTIONED,
        "caption": "" if failed else row["caption"] or "",
        "message": row["error_message"] or "" if failed else "",
        "sources": [str(image["source"]) for image in images],
        "size": _size(images[0]) if images else "",
        "cost": row["cost_usd"] or 0.0,
        "input_tokens": sum(row[name] or 0 for name in _INPUT),
        "output_tokens": row["output_tokens"] or 0,
        "attempts": row["attempts"],
        "made": round(row["created_at"].timestamp(), 3),
        "warnings": _warnings(row),
        "manifest": {name: _plain(value) for name, value in (row.get("manifest") or {}).items()},
        "thumbnail": data_uri(row.get("thumbnail")),
    }
    return shown | ({} if failed else _answer(row)) | ({"review": _review(review)} if review else {})


_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def data_uri(raw: bytes | None) -> str:
    """A small picture as a `data:` URI; empty without one."""
    if not raw:
        return ""
    kind = "webp" if raw[8:12] == b"WEBP" else "png" if raw.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    replies, data = row["replies"] or [], row.get("data")
    return {
        "model": row["model"],
        "stop_reason": row["stop_reason"],
        "latency_s": round((row["latency_ms"] or 0.0) / 1000, 3),
        "replies": list(replies) if len(replies) > 1 else [],
        "data": "" if data is None else json.dumps(data, ensure_ascii=False, indent=2, default=str),
        "structured": "data" in row,
    }


def _review(review: Review) -> dict[str, Any]:
    at = f"{review.reviewed_at:%Y-%m-%d %H:%M}"
    return {"verdict": review.verdict.value, "caption": review.caption, "reviewer": review.reviewer, "at": at}


def _size(image: dict[str, Any]) -> str:
    sides = [image[name] for name in ("width", "height", "sent_width", "sent_height")]
    if None in sides[:2]:
        return ""
    sent = "" if None in sides[2:] or sides[:2] == sides[2:] else f", sent {sides[2]} × {sides[3]}"
    return f"{sides[0]} × {sides[1]}{sent} px"


def _warnings(row: dict[str, Any]) -> list[str]:
    found = [*(row.get("warnings") or ()), *(mark for one in row["images"] or () for mark in one["warnings"] or ())]
    return list(dict.fromkeys(found))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | bool):
        return value if not isinstance(value, int) or abs(value) < 1 << 53 else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
