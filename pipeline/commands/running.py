"""`pipeline run`."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from pipeline.commands.saying import say
from pipeline.config import load_config
from pipeline.engines.job import RunOptions, View, run_job
from pipeline.engines.plan import RunPlan, plan_run
from pipeline.engines.summary import RunSummary
from pipeline.errors import ConfigError
from pipeline.faces.heartbeat import beat
from pipeline.faces.logs import secrets_of, set_up_logs
from pipeline.faces.metrics import metrics_view, together, write_metrics
from pipeline.faces.progress import choose_view
from pipeline.faces.summary import summary_text
from pipeline.faces.telemetry import Telemetry
from pipeline.notebook import RunKeywords, handlers_kept, run_options

__all__ = ["run_command"]

logger = logging.getLogger(__name__)


def run_command(config: str, overrides: tuple[str, ...], options: Mapping[str, Any], *, as_json: bool) -> int:
    """Runs a configuration; returns the exit code."""
    settings = load_config(config, overrides)
    set_up_logs(options["log_format"], options["log_file"], secrets_of(settings))
    names = RunKeywords.__annotations__.keys() & options.keys() - {"progress"}
    keywords: RunKeywords = {name: options[name] for name in names}  # type: ignore[assignment]
    chosen = run_options(keywords, signals=True, as_flags=True)
    plan = plan_run(settings)
    telemetry = Telemetry() if options.get("otel", False) else None
    view = together(_view(options), telemetry.view if telemetry is not None else None)
    for remark in plan.remarks:
        logger.info("%s", remark)
    with handlers_kept():
        summary = _on(options["engine"])(plan, chosen, view)
    say(json.dumps(summary.as_dict()) if as_json else summary_text(summary))
    if telemetry is not None:
        telemetry.close(summary)
    if options["metrics_file"] is not None:
        write_metrics(options["metrics_file"], summary)
    if options["heartbeat"] is not None:
        beat(options["heartbeat"], summary.exit_code)
    return summary.exit_code


def _on(engine: str) -> Callable[[RunPlan, RunOptions, View | None], RunSummary]:
    """What runs a plan on this machine, or on a cluster."""
    if engine == "local":
        return lambda plan, options, view: anyio.run(run_job, plan, options, view)
    try:
        from pipeline.engines.ray.cluster import run_on_ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("--engine ray: needs Ray; install the extra: pip install 'pipeline[ray]'") from None
    return run_on_ray


def _view(options: Mapping[str, Any]) -> View | None:
    """What looks at the run while it goes."""
    metrics = options["metrics_file"]
    return together(choose_view(options["progress"]), metrics_view(metrics) if metrics is not None else None)
