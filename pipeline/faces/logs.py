"""Log lines: text for people, JSON for log stores; to standard error, and to a file where one is named.

Secrets are cut out of every line, whatever its level and whoever wrote it, before anything else is done to the text:
a secret that was escaped or cut short would not be found. A manifest full of bad rows must not bury a terminal: as
text on standard error each kind of failure is shown a few times and then counted alone; the file and JSON have them
all. A log that cannot be written is no fault of the run.
"""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import unquote, urlsplit

from pipeline.config import effective
from pipeline.errors import ConfigError
from pipeline.faces.plain import safe_line, write_aside
from pipeline.settings import Config

__all__ = ["FEW", "logs_for_run", "redacted", "secrets_of", "set_up_logs"]

FEW = 10
"""Failures of one kind that standard error shows as text."""
_FIELDS = ("item_id", "request_id", "error_type")
_MASK = "***"
_SHORTEST_SECRET = 4
"""Dummy keys such as `x` or `-`, which some servers want, stand in half of all words."""


def set_up_logs(form: Literal["text", "json"], file: Path | None, secrets: Iterable[str]) -> None:
    """Sends the process's log to standard error, and to `file` too; replaces what an earlier call set up.

    The package's from INFO on, those of the libraries from WARNING on.

    Raises:
        ConfigError: the file cannot be opened.
    """
    _take_down()
    formatter = _formatter(form, secrets)
    handlers: list[logging.Handler] = [_StandardError(formatter, few=form == "text")]
    if file is not None:
        handlers.append(_LogFile(formatter, file))
    ours, everything = logging.getLogger("pipeline"), logging.getLogger()
    for handler in handlers:
        ours.addHandler(handler)
        everything.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


@contextmanager
def logs_for_run(secrets: Iterable[str]) -> Iterator[None]:
    """Text on standard error while the block runs, in a process that has set up no logging of its own."""
    ours = logging.getLogger("pipeline")
    if ours.hasHandlers():
        yield
        return
    level, handler = ours.level, _StandardError(_formatter("text", secrets), few=True)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


def redacted(text: str) -> str:
    """The text without the secrets that the log knows of."""
    for handler in logging.getLogger("pipeline").handlers:
        if isinstance(handler.formatter, _Formatter):
            text = handler.formatter.redacted(text)
    return text


def secrets_of(config: Config) -> list[str]:
    """What must never appear in a line: the key, the URL's password, and the user's own headers that hold secrets."""
    shown = effective(config)["api"]["headers"]
    masked = [value for name, value in config.api.headers.items() if shown[name] != value]
    password = urlsplit(config.api.base_url).password or ""
    return [os.environ.get(config.api.api_key_env, "").strip(), *masked, password, unquote(password)]


def _take_down() -> None:
    for logger in (logging.getLogger("pipeline"), logging.getLogger()):
        for handler in [one for one in logger.handlers if isinstance(one, _StandardError | _LogFile)]:
            logger.removeHandler(handler)
            handler.close()


def _formatter(form: Literal["text", "json"], secrets: Iterable[str]) -> "_Formatter":
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    spelled = {*hidden, *(repr(secret)[1:-1] for secret in hidden), *(json.dumps(secret)[1:-1] for secret in hidden)}
    longest_first = tuple(sorted(spelled, key=len, reverse=True))
    return _Text(longest_first) if form == "text" else _Json(longest_first)


class _Formatter(logging.Formatter):
    """Makes a line of a record, without the secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text


class _Text(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += f": {record.exc_info[0].__name__}: {record.exc_info[1]}"
        return f"{at:%H:%M:%S} {record.levelname.lower():7} {safe_line(self.redacted(text))}"


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.redacted(record.getMessage()),
        }
        given = {name: getattr(record, name, None) for name in _FIELDS}
        line |= {name: self.redacted(str(value)) for name, value in given.items() if value is not None}
        line |= getattr(record, "numbers", {})
        if record.exc_info:
            line["exception"] = self.redacted(self.formatException(record.exc_info))
        return json.dumps(line)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is now, so that lines stand above a live view; a closed one is no fault.

    With `few`, passes the first `FEW` failures of each kind, then says once that the others are counted.
    """

    def __init__(self, formatter: logging.Formatter, *, few: bool) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(formatter)
        self._few = few
        self._shown: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, or leaves it out."""
        kind = getattr(record, "error_type", None)
        if self._few and kind is not None:
            self._shown[kind] += 1
            if self._shown[kind] > FEW + 1:
                return
            if self._shown[kind] == FEW + 1:
                record = logging.makeLogRecord(record.__dict__)  # the file's copy says what failed
                record.msg, record.args = "more failures of type %s are counted and not shown; see failures/", (kind,)
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Nobody is there to be told."""


class _LogFile(logging.StreamHandler[TextIO]):
    """Appends to a file that the owner alone may read; when that fails, says so once and goes on."""

    def __init__(self, formatter: logging.Formatter, path: Path) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"--log-file {path}: cannot be opened: {error.strerror}") from error
        super().__init__(os.fdopen(fd, "a", encoding="utf-8", buffering=1))
        self.setFormatter(formatter)
        self._path = path
        self._failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """The library's own report would quote the line with its secrets."""
        del record
        if not self._failed:
            self._failed = True
            write_aside(f"--log-file {self._path}: cannot be written: {sys.exc_info()[1]}")

    def close(self) -> None:
        """Closes the file too."""
        super().close()
        try:
            self.stream.close()
        except OSError:
            self._failed = True  # what could not be written was said when it failed
