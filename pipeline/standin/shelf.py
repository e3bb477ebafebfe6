"""Uploaded files: what `/v1/files` keeps, forgets and tells, in both dialects of the API.

With `anthropic-beta: files-api-2025-04-14` lists have `has_more`, `first_id` and `last_id`, and a file has a `scope`
and no `expires_at`; without it, lists have `next_page` and take `ids[]`.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.standin.forms import Part
from pipeline.standin.problems import Problem

__all__ = ["Shelf", "StoredFile"]

_LIVES = (3600, 7_776_000)
_BAD_NAME = re.compile(r'[<>:"|?*\\/\x00-\x1f]')
_LONGEST_NAME = 255
_MOST_IDS = 100
_DEFAULT_LIMIT = 20
_MOST = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file; times are seconds since the epoch, `ends` is `None` where it does not expire."""

    id: str
    filename: str
    mime_type: str
    body: bytes = field(repr=False)
    created: float
    ends: float | None = None

    def metadata(self, *, old: bool) -> dict[str, Any]:
        """What the API tells of it."""
        told = {
            "id": self.id,
            "type": "file",
            "filename": self.filename,
            "mime_type": self.mime_type,
            "size_bytes": len(self.body),
            "created_at": _stamp(self.created),
            "downloadable": False,
        }
        return {**told, "scope": None} if old else {**told, "expires_at": _stamp(self.ends) if self.ends else None}


class Shelf:
    """The files of one server, oldest first.

    Args:
        clock: seconds since the epoch.

    Attributes:
        uploads: how many files were taken.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._files: dict[str, StoredFile] = {}
        self.uploads = 0

    def add(self, parts: Sequence[Part]) -> StoredFile:
        """Takes an upload.

        Raises:
            Problem: 400 that names the field.
        """
        fields = {part.name: part for part in parts}
        unknown = sorted(set(fields) - {"file", "expires_in_seconds"})
        if unknown:
            raise Problem.invalid(f"{unknown[0]}: Extra inputs are not permitted")
        if "file" not in fields or fields["file"].filename is None:
            raise Problem.invalid("file: Field required")
        file, now = fields["file"], self._clock()
        name = str(file.filename)
        if not 1 <= len(name) <= _LONGEST_NAME or _BAD_NAME.search(name):
            raise Problem.invalid("file: filename: from 1 to 255 characters, and none that is forbidden")
        life = _life(fields["expires_in_seconds"].body) if "expires_in_seconds" in fields else None
        kind = file.content_type or "application/octet-stream"
        ends = None if life is None else now + life
        stored = StoredFile(f"file_{secrets.token_hex(12)}", name, kind, file.body, now, ends)
        self._files[stored.id] = stored
        self.uploads += 1
        return stored

    def get(self, file_id: str) -> StoredFile:
        """The file of an id.

        Raises:
            Problem: 404: there is none, or it has expired.
        """
        stored = self._files.get(file_id)
        if stored is None:
            raise Problem.not_found(f"File not found: {file_id}")
        if stored.ends is not None and stored.ends <= self._clock():
            raise Problem(404, f"File has expired: {file_id}", {"error_code": "file_expired"})
        return stored

    def image(self, file_id: str) -> bytes:
        """The bytes of a file, for a message that names it.

        Raises:
            Problem: 404.
        """
        return self.get(file_id).body

    def content(self, file_id: str) -> None:
        """Its download, which uploads do not have.

        Raises:
            Problem: always.
        """
        self.get(file_id)
        raise Problem.invalid("This file cannot be downloaded", {"error_code": "file_not_downloadable"})

    def delete(self, file_id: str) -> dict[str, Any]:
        """Deletes a file.

        Raises:
            Problem: 404.
        """
        del self._files[self.get(file_id).id]
        return {"id": file_id, "type": "file_deleted"}

    def page(self, query: Mapping[str, str], ids: Sequence[str], *, old: bool) -> dict[str, Any]:
        """A page of files, newest first.

        Raises:
            Problem: 400 for a bad parameter.
        """
        allowed = {"limit", "after_id", "before_id"} if old else {"limit", "page", "ids[]"}
        unknown = sorted(set(query) - allowed)
        if unknown:
            raise Problem.invalid(f"{unknown[0]}: Extra inputs are not permitted")
        names = list(reversed(self._files))
        if ids:
            return self._by_ids(query, ids)
        text = query.get("limit", str(_DEFAULT_LIMIT))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
            raise Problem.invalid(f"limit: Input should be from 1 to {_MOST}")
        limit = int(text)
        if "before_id" in query:
            end = _position(names, query["before_id"])
            found, more = names[max(0, end - limit) : end], end > limit
        else:
            after = query.get("after_id") or query.get("page", "").removeprefix("page_")
            start = _position(names, after) + 1 if after else 0
            found, more = names[start : start + limit], len(names) > start + limit
        data = [self._files[name].metadata(old=old) for name in found]
        if old:
            ends = (found[0], found[-1]) if found else (None, None)
            return {"data": data, "has_more": more, "first_id": ends[0], "last_id": ends[1]}
        return {"data": data, "next_page": f"page_{found[-1]}" if more else None}

    def _by_ids(self, query: Mapping[str, str], ids: Sequence[str]) -> dict[str, Any]:
        if set(query) - {"ids[]"} or len(set(ids)) > _MOST_IDS:
            raise Problem.invalid(f"ids: at most {_MOST_IDS}, without limit and page")
        found = [self._files[name] for name in reversed(self._files) if name in ids]
        return {"data": [stored.metadata(old=False) for stored in found], "next_page": None}


def _life(raw: bytes) -> int:
    text = raw.decode("ascii", "replace").strip()
    low, high = _LIVES
    if not text.isdigit() or not low <= int(text) <= high:
        raise Problem.invalid(f"expires_in_seconds: Input should be from {low} to {high}")
    return int(text)


def _position(names: list[str], name: str) -> int:
    if name not in names:
        raise Problem.invalid(f"no such file: {name}")
    return names.index(name)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
