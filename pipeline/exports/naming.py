"""What an image's file is called in an export: its own path under the root, never outside the export's folder. Pure."""

import re
from hashlib import sha256
from pathlib import PurePosixPath
from urllib.parse import urlsplit

__all__ = ["export_path", "shard_key"]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"|?*\\]")
_LONGEST = 200


def export_path(source: str, root: str = "") -> PurePosixPath:
    """The relative path of an image: nested as under `root`; a URL under its host; else by its hash.

    Parts that lead upwards, control characters and names longer than file systems take become safe ones that are
    different for different sources.
    """
    if source.startswith(("data:", "sha256:")):
        return PurePosixPath(f"inline-{_short(source)}")
    parts = urlsplit(source) if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", source) else None
    if parts is not None and parts.scheme != "file":
        text = f"{parts.netloc}/{parts.path}"
    else:
        text = parts.path if parts is not None else source
        if root and text.startswith(f"{root.rstrip('/')}/"):
            text = text[len(root.rstrip("/")) + 1 :]
    names = [name for name in text.split("/") if name not in ("", ".")]
    outside = text.startswith("/") or ".." in names
    safe = [_UNSAFE.sub("_", name)[-_LONGEST:] for name in names if name != ".."]
    changed = safe != names or outside
    if not safe:
        return PurePosixPath(f"image-{_short(source)}")
    path = PurePosixPath(*safe)
    return path.with_name(f"{path.stem}-{_short(source)}{path.suffix}") if changed else path


def shard_key(item_id: str) -> str:
    """A WebDataset key: the id where it has only letters, digits, `_` and `-`, else one made from it."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", item_id)[:100]
    return item_id if safe == item_id and item_id else f"{safe}-{_short(item_id)}"


def _short(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
