"""Tables in Markdown, and the texts that the sources have no words for."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["TEXTS", "agree", "table"]

TEXTS: dict[str, Any] = tomllib.loads((Path(__file__).parent.parent / "texts.toml").read_text("utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table in Markdown; cells may hold what would break it."""
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield f"|{' --- |' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|").strip()


def agree(place: str, texts: Mapping[str, object], names: Iterable[str]) -> None:
    """Texts and what they are about agree, or the generator stops."""
    wrong = set(texts) ^ set(names)
    if wrong:
        sys.exit(f"docs/texts.toml: {place}: without a text, or without its column: {', '.join(sorted(wrong))}")
