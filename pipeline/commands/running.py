"""`pipeline run`."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import anyio

from pipeline.commands.saying import say
from pipeline.config import load_config
from pipeline.engines.job import View, run_job
from pipeline.engines.plan import plan_run
from pipeline.errors import ConfigError
from pipeline.faces.heartbeat import beat
from pipeline.faces.logs import secrets_of, set_up_logs
from pipeline.faces.metrics import metrics_view, together, write_metrics
from pipeline.faces.progress import choose_view
from pipeline.faces.summary import summary_text
from pipeline.notebook import RunKeywords, handlers_kept, run_options

__all__ = ["run_command"]

logger = logging.getLogger(__name__)


def run_command(config: str, overrides: tuple[str, ...], options: Mapping[str, Any], *, as_json: bool) -> int:
    """Runs a configuration; returns the exit code."""
    settings = load_config(config, overrides)
    set_up_logs(options["log_format"], options["log_file"], secrets_of(settings))
    if options["engine"] != "local":
        raise ConfigError('--engine: found "ray"; not built yet, allowed: local')
    names = RunKeywords.__annotations__.keys() & options.keys() - {"progress"}
    keywords: RunKeywords = {name: options[name] for name in names}  # type: ignore[assignment]
    chosen = run_options(keywords, signals=True, as_flags=True)
    plan = plan_run(settings)
    view = _view(options)
    for remark in plan.remarks:
        logger.info("%s", remark)
    with handlers_kept():
        summary = anyio.run(run_job, plan, chosen, view)
    say(json.dumps(summary.as_dict()) if as_json else summary_text(summary))
    if options["metrics_file"] is not None:
        write_metrics(options["metrics_file"], summary)
    if options["heartbeat"] is not None:
        beat(options["heartbeat"], summary.exit_code)
    return summary.exit_code


def _view(options: Mapping[str, Any]) -> View | None:
    """What looks at the run while it goes."""
    metrics = options["metrics_file"]
    return together(choose_view(options["progress"]), metrics_view(metrics) if metrics is not None else None)
