"""Log lines: text for people, JSON for log stores; to standard error, and to a file where one is named.

Secrets are cut out of every line, whatever the level. A manifest full of bad rows must not bury a terminal: on
standard error each kind of failure is shown a few times and then counted alone; the file and JSON have them all.
"""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from pipeline.errors import ConfigError
from pipeline.faces.plain import safe_line

__all__ = ["FEW", "set_up_logs"]

FEW = 10
"""Failures of one kind that standard error shows as text."""
_FIELDS = ("item_id", "request_id", "error_type")
_MASK = "***"


def set_up_logs(form: Literal["text", "json"], file: Path | None, secrets: Iterable[str]) -> None:
    """Sends the package's log to standard error, and to `file` too; replaces what an earlier call set up.

    Raises:
        ConfigError: the file cannot be opened.
    """
    root = logging.getLogger("pipeline")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    shapes: dict[str, logging.Formatter] = {"text": _Text(), "json": _Json()}
    shown: logging.Handler = _StandardError()
    if form == "text":
        shown.addFilter(_Few())
    handlers = [shown]
    if file is not None:
        handlers.append(_file_handler(file))
    hidden = tuple(secret for secret in secrets if secret)
    for handler in handlers:
        handler.setFormatter(_Redacted(shapes[form], hidden))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False


def _file_handler(file: Path) -> logging.Handler:
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"--log-file {file}: cannot be opened: {error.strerror}") from error
    return logging.StreamHandler(os.fdopen(fd, "a", encoding="utf-8", buffering=1))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is now, so that lines stand above a live view; a closed one is no fault."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Nobody is there to be told."""


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        return f"{at:%H:%M:%S} {record.levelname.lower():7} {safe_line(record.getMessage())}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        line |= getattr(record, "numbers", {})
        return json.dumps(line)


class _Redacted(logging.Formatter):
    """Another formatter's lines without the secrets."""

    def __init__(self, inner: logging.Formatter, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, _MASK)
        return line


class _Few(logging.Filter):
    """Passes the first `FEW` failures of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        kind = getattr(record, "error_type", None)
        if kind is None:
            return True
        self._seen[kind] += 1
        if self._seen[kind] == FEW + 1:
            record.msg, record.args = "more failures of type %s are counted and not shown; see failures/", (kind,)
            return True
        return self._seen[kind] <= FEW
