"""The Python API: a run from a script or a notebook, with the same plan, engine and promises as the command."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import anyio

from pipeline.config import load_config
from pipeline.durations import parse_duration
from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError
from pipeline.faces.progress import choose_view
from pipeline.settings import Config

__all__ = ["RunKeywords", "run", "run_async"]


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
        overrides: `SECTION.KEY=VALUE` texts, as given by `--set`.
        progress: `"auto"`, `"bar"`, `"log"` or `"none"`.
    """

    limit: int | None
    sample: int | None
    shard: str | None
    retry_failed: bool
    only: str | None
    accept_new_fingerprint: bool
    max_runtime: str | None
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
    return anyio.run(_run, config, keywords, threading.current_thread() is threading.main_thread())


async def run_async(config: str | Path | Config, **keywords: Unpack[RunKeywords]) -> RunSummary:
    """As `run`, inside a running event loop; cancelling it keeps what was received.

    Raises:
        PipelineError: nothing was sent; the message says what is wrong.
    """
    return await _run(config, keywords, signals=False)


async def _run(config: str | Path | Config, keywords: RunKeywords, signals: bool) -> RunSummary:
    settings = config if isinstance(config, Config) else load_config(config, keywords.get("overrides", ()))
    options = run_options(keywords, signals=signals)
    return await run_job(plan_run(settings), options, choose_view(keywords.get("progress", "none")))


def run_options(keywords: RunKeywords, *, signals: bool) -> RunOptions:
    """The options that keywords mean, checked.

    Raises:
        ConfigError: a keyword has a value that is not allowed.
    """
    limit, sample = _count(keywords, "limit"), _count(keywords, "sample")
    retry_failed, only = keywords.get("retry_failed", False), keywords.get("only")
    if only is not None and not retry_failed:
        raise ConfigError("--only: chooses among the failed, so it needs --retry-failed")
    text = keywords.get("max_runtime")
    try:
        max_runtime_s = None if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--max-runtime: {error}") from None
    return RunOptions(
        Choice(limit, sample, _shard(keywords.get("shard")), retry_failed, only),
        keywords.get("accept_new_fingerprint", False),
        max_runtime_s,
        signals,
    )


def _count(keywords: RunKeywords, name: Literal["limit", "sample"]) -> int | None:
    value = keywords.get(name)
    if value is not None and value < 1:
        raise ConfigError(f"--{name}: found {value}; allowed: a whole number of at least 1")
    return value


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, of = text.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
        raise ConfigError(f'--shard: found "{text}"; allowed: I/N with 1 <= I <= N, such as 2/8')
    return int(index), int(of)
