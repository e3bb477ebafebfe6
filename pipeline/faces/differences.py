"""Where two captions differ, word by word. Pure."""

import re
from difflib import SequenceMatcher

__all__ = ["Piece", "marked"]

Piece = tuple[str, bool]
"""Text, and whether the other side has something else there."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4000


def marked(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, each joined again being the text it came from.

    Texts of more than a few thousand words are not compared: each is one piece, which differs.
    """
    left, right = _WORDS.findall(one), _WORDS.findall(other)
    if one == other or len(left) + len(right) > _MOST_WORDS:
        return [(one, one != other)], [(other, one != other)]
    mine: list[Piece] = []
    theirs: list[Piece] = []
    for tag, start, end, other_start, other_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        mine.append(("".join(left[start:end]), tag != "equal"))
        theirs.append(("".join(right[other_start:other_end]), tag != "equal"))
    return [piece for piece in mine if piece[0]], [piece for piece in theirs if piece[0]]
