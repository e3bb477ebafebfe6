"""Durations as people write them: `55m`, `1h30m`, `90s`, `2d`, or plain seconds."""

import re

__all__ = ["parse_duration"]

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `55m`, `1h30m` or `90`.

    Raises:
        ValueError: the text is none; the message says what is allowed.
    """
    compact = text.strip().lower().replace(" ", "")
    try:
        seconds = float(compact)
    except ValueError:
        if not compact or _PART.sub("", compact) != "":
            seconds = -1.0
        else:
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))
    if not 0 < seconds < float("inf"):
        raise ValueError(f'found "{text}"; allowed: a duration such as 55m, 1h30m, 90s or a number of seconds')
    return seconds
