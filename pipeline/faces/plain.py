"""Text made safe and short for a terminal: what comes from manifests and services is data, never control codes."""

import sys

__all__ = ["counted", "duration", "money", "safe_line", "write_aside"]


def safe_line(text: str, most: int = 2000) -> str:
    """One printable line: control and escape characters become their escapes, so that no terminal obeys them."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:most]
    )
    return shown if len(text) <= most else f"{shown}..."


def write_aside(text: str) -> None:
    """Lines on standard error, made safe; one that is closed, or whose reader has gone away, is no fault."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write("".join(f"{safe_line(line)}\n" for line in text.splitlines()))
        sys.stderr.flush()
    except (OSError, ValueError):  # ValueError: a stream that was closed
        pass


def counted(number: int, noun: str) -> str:
    """`1 item`, `2,000 items`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def money(usd: float) -> str:
    """Dollars with the digits that matter: cents for sums, more for small ones."""
    return f"${usd:,.2f}" if usd >= 100 else f"${usd:.4f}"


def duration(seconds: float) -> str:
    """`8.1 s`, `2:05`, `1:02:03`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
