"""What each command does once its words are parsed: load, call, print.

Only the one object of `--json`, or what a person asked to see, goes to standard output; the rest to standard error.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio

from pipeline.config import effective, load_config
from pipeline.engines.checking import CheckReport, run_check
from pipeline.engines.job import run_job
from pipeline.engines.plan import plan_run
from pipeline.errors import ConfigError, PipelineError
from pipeline.faces.checks import check_text
from pipeline.faces.logs import set_up_logs
from pipeline.faces.progress import choose_view
from pipeline.faces.summary import status_text, summary_text
from pipeline.notebook import RunKeywords, run_options
from pipeline.settings import Config
from pipeline.standin.faults import parse_fault
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import serve
from pipeline.store.read import DatasetStatus, dataset_status
from pipeline.store.rows import TOKEN_COLUMNS

__all__ = ["check_command", "run_command", "serve_command", "status_command"]


def run_command(config: str, overrides: tuple[str, ...], options: Mapping[str, Any], *, as_json: bool) -> int:
    """`pipeline run`."""
    settings = load_config(config, overrides)
    set_up_logs(options["log_format"], options["log_file"], _secrets(settings))
    if options["engine"] != "local":
        raise ConfigError('--engine: found "ray"; not built yet, allowed: local')
    names = RunKeywords.__annotations__.keys() & options.keys() - {"progress"}
    keywords: RunKeywords = {name: options[name] for name in names}  # type: ignore[assignment]
    plan = plan_run(settings)
    for remark in plan.remarks:
        sys.stderr.write(f"note: {remark}\n")
    summary = anyio.run(run_job, plan, run_options(keywords, signals=True), choose_view(options["progress"]))
    _say(json.dumps(summary.as_dict()) if as_json else summary_text(summary))
    return summary.exit_code


def check_command(config: str, overrides: tuple[str, ...], *, online: bool, as_json: bool) -> int:
    """`pipeline check`."""
    settings: Config | None = None
    try:
        settings = load_config(config, overrides)
        report = anyio.run(_check, settings, online)
    except PipelineError as error:
        if not Path(config).is_file():
            raise
        report = CheckReport(problems=str(error).splitlines())
    shown = effective(settings) if settings is not None else None
    if as_json:
        _say(json.dumps({"ok": not report.problems, "problems": report.problems, "config": shown}))
    else:
        _say(check_text(report, shown))
    return 1 if report.problems else 0


async def _check(settings: Config, online: bool) -> CheckReport:
    return await run_check(plan_run(settings), online=online)


def status_command(output: Path, *, as_json: bool) -> int:
    """`pipeline status`."""
    status = dataset_status(output)
    _say(json.dumps(_status_object(status, output)) if as_json else status_text(status))
    return 0


def serve_command(options: Mapping[str, Any]) -> int:
    """`pipeline serve`."""
    try:
        chosen = StandinOptions(
            host=options["host"],
            port=options["port"],
            log=options["log"],
            latency_s=_latency(options["latency"]),
            requests_per_minute=options["requests_per_minute"],
            input_tokens_per_minute=options["input_tokens_per_minute"],
            output_tokens_per_minute=options["output_tokens_per_minute"],
            burst_s=options["burst_seconds"],
            limit_headers=not options["no_limit_headers"],
            keys=frozenset(options["keys"]) or None,
            max_base64_bytes=options["max_base64_bytes"],
            faults=tuple(parse_fault(text) for text in options["faults"]),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        serve(chosen)
    except OSError as error:
        raise ConfigError(f"--port {chosen.port} on {chosen.host}: {error.strerror or error}") from error
    return 0


def _say(text: str) -> None:
    """One answer on standard output; a reader that has gone away is no fault of the run."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        sys.stdout = None


def _latency(text: str) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        bounds = float(low), float(high or low)
    except ValueError:
        bounds = -1.0, -1.0
    if not 0 <= bounds[0] <= bounds[1] < float("inf"):
        raise ConfigError(f'--latency: found "{text}"; allowed: seconds, or two of them in order such as 0.2,3')
    return bounds


def _secrets(settings: Config) -> list[str]:
    """What must never appear in a line: the key, and the values of the user's own headers that hold secrets."""
    shown = effective(settings)["api"]["headers"]
    masked = [value for name, value in settings.api.headers.items() if shown[name] != value]
    return [os.environ.get(settings.api.api_key_env, "").strip(), *masked]


def _status_object(status: DatasetStatus, output: Path) -> dict[str, Any]:
    total = status.succeeded + status.failed
    return {
        "items": {"total": total, "succeeded": status.succeeded, "failed": status.failed},
        "requests": asdict(status.requests),
        "usage": {name: getattr(status.usage, name) for name in TOKEN_COLUMNS},
        "cost_usd": status.cost_usd,
        "failures_by_type": dict(status.failures_by_type),
        "fingerprints": {mark: sum(counts) for mark, counts in status.fingerprints.items()},
        "runs": [run.get("run_id") for run in status.runs],
        "output": str(output),
    }
