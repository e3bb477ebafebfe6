"""The body of a create call, taken apart as it arrives: one request of it in memory at a time, each as it was sent.

A request ends where the JSON decoder says that it does. One that has not arrived whole is tried again once the text
has doubled, so that the work stays linear in the size of the body.
"""

import codecs
import json
import re
from dataclasses import dataclass, field
from typing import Any

from pipeline.standin.problems import Problem
from pipeline.standin.shapes import check_fields

__all__ = ["Item", "RequestsReader"]

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_LONGEST_HEAD = 65_536
_LONGEST_TOKEN = 16
"""More characters than a literal or an escape has: an error so near the end may be for want of the rest."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch: its name, its `params`, and its text as it was sent."""

    custom_id: str
    params: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)


class RequestsReader:
    """Reads `{"requests": [...]}`.

    Args:
        most: requests of a batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parts: list[str] = []
        self._size = 0
        self._next_try = 0
        self._stage = "head"
        self._seen: set[str] = set()

    def feed(self, chunk: bytes, *, final: bool = False) -> list[Item]:
        """Takes what arrived; the requests that are whole now.

        Raises:
            Problem: 400: no JSON, or not in the form of a batch; or, at the end, not whole.
        """
        try:
            self._parts.append(self._decode(chunk, final))
        except UnicodeDecodeError as error:
            raise _no_json(error) from None
        self._size += len(self._parts[-1])
        if self._size < self._next_try and not final:
            return []
        text = "".join(self._parts)
        found, at = self._advance(text, final)
        rest = text[at:]
        self._parts, self._size = [rest], len(rest)
        self._next_try = 2 * len(rest) if not found else 0
        if final and self._stage != "end":
            raise Problem.invalid("The request body is not valid JSON: it ends too early")
        return found

    def _advance(self, text: str, final: bool) -> tuple[list[Item], int]:
        found: list[Item] = []
        at = self._head(text, final) if self._stage == "head" else 0
        while self._stage != "head" and (at := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]
            if self._stage in ("first", "item") and text[at] != "]":
                item, at = self._item(text, at, final)
                if item is None:
                    break
                found.append(item)
            else:
                at = self._punctuation(text, at)
        return found, at

    def _head(self, text: str, final: bool) -> int:
        """What comes before the first request; 0 while it is not there."""
        at = text.find("[") + 1
        if not at and not final and len(text) < _LONGEST_HEAD:
            return 0
        if text.lstrip()[:1] not in ("{", ""):
            raise Problem.invalid("The request body must be a JSON object")
        try:
            body = json.loads(f"{text[:at]}]}}" if at else text)
        except (ValueError, RecursionError) as error:
            raise _no_json(error) from None
        check_fields(body, "", {"requests": list}, {})
        self._stage = "first"
        return at

    def _punctuation(self, text: str, at: int) -> int:
        found = (self._stage, text[at])
        if found not in _NEXT:
            raise Problem.invalid(f'The request body is not valid JSON: found "{text[at]}" after a request')
        if found == ("first", "]"):
            raise Problem.invalid("requests: List should have at least 1 item after validation")
        self._stage = _NEXT[found]
        return at + 1

    def _item(self, text: str, at: int, final: bool) -> tuple[Item | None, int]:
        if text[at] != "{":
            raise Problem.invalid(f"requests.{len(self._seen)}: Input should be a valid dictionary")
        try:
            value, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if not final and _is_cut(error, text):
                return None, at
            raise _no_json(error) from None
        except (ValueError, RecursionError) as error:  # the first: a number of more digits than are read
            raise _no_json(error) from None
        self._stage = "after"
        return self._checked(value, text[at:end]), end

    def _checked(self, value: object, raw: str) -> Item:
        number = len(self._seen)
        if number == self._most:
            raise Problem.invalid(f"requests: List should have at most {self._most} items after validation")
        fields = check_fields(value, f"requests.{number}", {"custom_id": str, "params": dict}, {})
        name = fields["custom_id"]
        if not _CUSTOM_ID.fullmatch(name):
            rule = f"^{_CUSTOM_ID.pattern}$"
            raise Problem.invalid(f"requests.{number}.custom_id: String should match pattern '{rule}'")
        if name in self._seen:
            raise Problem.invalid(f"requests.{number}.custom_id: is not unique in this batch: {name}")
        self._seen.add(name)
        return Item(name, fields["params"], raw.encode())


_NEXT = {("first", "]"): "end", ("after", ","): "item", ("after", "]"): "tail", ("tail", "}"): "end"}
"""Where each sign between requests leads."""


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether more text may mend it."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - _LONGEST_TOKEN


def _no_json(error: Exception) -> Problem:
    return Problem.invalid(f"The request body is not valid JSON: {error}")
