"""The stand-in's log, read back: what was answered and billed, by the server's own account."""

import json
from pathlib import Path
from typing import Any

__all__ = ["answers", "billed", "read_log"]


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a stand-in's log, which may still be written to."""
    whole = path.read_text("utf-8").rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def answers(path: Path) -> list[dict[str, Any]]:
    """What was answered, refusals included, in order."""
    return [line for line in read_log(path) if line["event"] == "answer"]


def billed(path: Path) -> list[dict[str, Any]]:
    """What was answered and billed."""
    return [line for line in answers(path) if line["billed"]]
