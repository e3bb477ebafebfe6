"""Durations as people write them (`55m`, `1h30m`, `90s`, `2d`, or plain seconds), and moments as services do."""

import re
from datetime import UTC, datetime

__all__ = ["parse_duration", "parse_moment"]

_NUMBER = r"(\d+(?:\.\d+)?)"
_SECONDS = re.compile(_NUMBER, re.ASCII)
_PARTS = re.compile(r"\s*".join(rf"(?:{_NUMBER}\s*{unit})?" for unit in "dhms"), re.ASCII)
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0)


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `55m`, `1h30m` or `90`: each unit once, the largest first.

    Raises:
        ValueError: the text is none, or not above zero; the message says what is allowed.
    """
    compact = text.strip().lower()
    seconds = 0.0
    if _SECONDS.fullmatch(compact):
        seconds = float(compact)
    elif parts := _PARTS.fullmatch(compact):
        seconds = sum(float(number or 0) * unit for number, unit in zip(parts.groups(), _UNITS, strict=True))
    if not 0 < seconds < float("inf"):
        raise ValueError(f'found "{text}"; allowed: a duration such as 55m, 1h30m, 90s or a number of seconds')
    return seconds


def parse_moment(value: object) -> datetime | None:
    """An ISO 8601 moment of an answer, taken as UTC where it names no zone; `None` for what is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
