"""The Python API: a run from a script or a notebook, with the same plan, engine and promises as the command."""

import asyncio
import difflib
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import anyio

from pipeline.config import load_config
from pipeline.durations import parse_duration
from pipeline.engines.job import RunOptions, View, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError
from pipeline.faces.display import is_notebook, show_display
from pipeline.faces.logs import logs_for_run, secrets_of
from pipeline.faces.progress import choose_view
from pipeline.settings import Config

__all__ = ["RunKeywords", "handlers_kept", "run", "run_async", "run_options"]

_VIEWS = ("auto", "bar", "log", "none")
_SHARD = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")


class RunKeywords(TypedDict, total=False):
    """The options of `pipeline run` as keywords.

    Attributes:
        limit: the first so many items.
        sample: a stable random choice of so many items.
        shard: `"2/8"`: the second of eight parts.
        retry_failed: takes up items that failed for good.
        only: of them, those of this error type.
        accept_new_fingerprint: pays again for items that were answered under other settings.
        max_runtime: such as `"55m"`.
        no_wait: leaves batches in flight and returns once they are submitted.
        overrides: `SECTION.KEY=VALUE` texts, as given by `--set`.
        progress: `"auto"`, `"bar"`, `"log"` or `"none"`; in a notebook the bar stands below the cell.
    """

    limit: int | None
    sample: int | None
    shard: str | None
    retry_failed: bool
    only: str | None
    accept_new_fingerprint: bool
    max_runtime: str | None
    no_wait: bool
    overrides: Iterable[str]
    progress: Literal["auto", "bar", "log", "none"]


def run(config: str | Path | Config, **keywords: Unpack[RunKeywords]) -> RunSummary:
    """Runs a configuration and waits for its end; Ctrl-C ends it in good order, with `exit_code` 130.

    Args:
        config: a TOML file, or a configuration as `load_config` gives it.
        keywords: see `RunKeywords`.

    Raises:
        PipelineError: nothing was sent; the message says what is wrong.
    """
    if _is_in_a_loop():
        raise ConfigError("pipeline.run: an event loop runs here, as in a notebook; await pipeline.run_async(...)")
    with handlers_kept() as in_main_thread:
        return anyio.run(_run, config, keywords, in_main_thread)


async def run_async(config: str | Path | Config, **keywords: Unpack[RunKeywords]) -> RunSummary:
    """As `run`, inside a running event loop; cancelling it keeps what was received.

    Raises:
        PipelineError: nothing was sent; the message says what is wrong.
    """
    return await _run(config, keywords, signals=False)


async def _run(config: str | Path | Config, keywords: RunKeywords, signals: bool) -> RunSummary:
    options = run_options(keywords, signals=signals)
    view = _view(keywords.get("progress", "none"))
    settings = _settings(config, keywords.get("overrides", ()))
    with logs_for_run(secrets_of(settings)):
        return await run_job(plan_run(settings), options, view)


def _view(mode: Literal["auto", "bar", "log", "none"]) -> View | None:
    return show_display if mode in ("auto", "bar") and is_notebook() else choose_view(mode)


@contextmanager
def handlers_kept() -> Iterator[bool]:
    """Whether this is the main thread; there, handlers of signals are afterwards as they were.

    An event loop that has watched for a signal leaves the default behind: SIGTERM would kill without a word.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield True
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_options(keywords: RunKeywords, *, signals: bool, as_flags: bool = False) -> RunOptions:
    """The options that keywords mean, checked.

    Args:
        keywords: see `RunKeywords`.
        signals: whether SIGINT and SIGTERM end the run in good order.
        as_flags: whether messages name them as the command line does.

    Raises:
        ConfigError: there is no such keyword, or one has a value that is not allowed.
    """
    _check_names(keywords)
    checked = _Checked(keywords, as_flags=as_flags)
    retry_failed, only = checked.truth("retry_failed"), checked.text("only", "an error type such as timeout")
    if only is not None and not retry_failed:
        raise ConfigError(
            f"{checked.named('only')}: chooses among the failed, so it needs {checked.named('retry_failed')}"
        )
    checked.view()
    return RunOptions(
        Choice(checked.count("limit"), checked.count("sample"), checked.shard(), retry_failed, only),
        checked.truth("accept_new_fingerprint"),
        checked.max_runtime_s(),
        signals,
        wait=not checked.truth("no_wait"),
    )


class _Checked:
    """Keywords, each checked when it is asked for; what nobody typed is what it is by default."""

    def __init__(self, keywords: RunKeywords, *, as_flags: bool) -> None:
        self._given: dict[str, object] = {**keywords}
        self._as_flags = as_flags

    def named(self, name: str) -> str:
        return f"--{name.replace('_', '-')}" if self._as_flags else name

    def truth(self, name: str) -> bool:
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "True or False")
        return value

    def text(self, name: str, allowed: str) -> str | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, allowed)
        return value

    def count(self, name: str) -> int | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(name, "a whole number of at least 1")
        return value

    def shard(self) -> tuple[int, int] | None:
        allowed = "I/N with 1 <= I <= N, such as 2/8"
        text = self.text("shard", allowed)
        if text is None:
            return None
        found = _SHARD.fullmatch(text)
        if found is None or int(found[1]) > int(found[2]):
            raise self._wrong("shard", allowed)
        return int(found[1]), int(found[2])

    def max_runtime_s(self) -> float | None:
        text = self.text("max_runtime", "a text such as 55m")
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise ConfigError(f"{self.named('max_runtime')}: {error}") from None

    def view(self) -> None:
        if self._given.get("progress", "none") not in _VIEWS:
            raise self._wrong("progress", ", ".join(_VIEWS))

    def _wrong(self, name: str, allowed: str) -> ConfigError:
        value = self._given[name]
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        return ConfigError(f"{self.named(name)}: found {shown}; allowed: {allowed}")


def _check_names(keywords: RunKeywords) -> None:
    """A misspelt `limit` must not caption the whole manifest."""
    allowed = sorted(RunKeywords.__annotations__)
    for name in keywords:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{name}: unknown keyword; {hint}allowed: {', '.join(allowed)}")


def _settings(config: str | Path | Config, overrides: Iterable[str]) -> Config:
    if isinstance(overrides, str):
        raise ConfigError(f'overrides: found "{overrides}"; allowed: a list of texts such as ["api.max_tokens=200"]')
    given = tuple(overrides)
    if not isinstance(config, Config):
        return load_config(config, given)
    if given:
        raise ConfigError("overrides: are for a file; give them to load_config, which made this configuration")
    return config


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
