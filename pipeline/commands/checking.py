"""`pipeline check` and `pipeline estimate`: what can be known before anything is paid."""

import json
from pathlib import Path

import anyio

from pipeline.commands.saying import say
from pipeline.config import effective, load_config
from pipeline.engines.checking import CheckReport, run_check
from pipeline.engines.estimating import Estimate, run_estimate
from pipeline.engines.plan import RunPlan, plan_run
from pipeline.errors import PipelineError
from pipeline.faces.checks import check_text
from pipeline.faces.estimate import estimate_text
from pipeline.faces.logs import secrets_of, set_up_logs
from pipeline.settings import Config

__all__ = ["check_command", "estimate_command"]


def check_command(config: str, overrides: tuple[str, ...], *, online: bool, as_json: bool) -> int:
    """Checks a configuration; 1 where there are problems."""
    settings: Config | None = None
    try:
        settings = load_config(config, overrides)
        set_up_logs("text", None, secrets_of(settings))
        report = anyio.run(_check, settings, online)
    except PipelineError as error:
        if not Path(config).is_file():
            raise
        report = CheckReport(problems=_problems(error))
    shown = effective(settings) if settings is not None else None
    if as_json:
        say(json.dumps({"ok": not report.problems, "problems": report.problems, "config": shown}))
    else:
        say(check_text(report, shown))
    return 1 if report.problems else 0


def estimate_command(config: str, overrides: tuple[str, ...], *, online: bool, as_json: bool) -> int:
    """Tells what a run would take."""
    settings = load_config(config, overrides)
    set_up_logs("text", None, secrets_of(settings))
    plan = plan_run(settings)
    found = anyio.run(_estimate, plan, online)
    say(json.dumps(found.as_dict()) if as_json else estimate_text(found, plan.model))
    return 0


async def _estimate(plan: RunPlan, online: bool) -> Estimate:
    return await run_estimate(plan, online=online)


def _problems(error: PipelineError) -> list[str]:
    """One a line: several that were found at once stand below a line that counts them."""
    first, *others = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    return others if others and first.endswith("problems") else [first, *others]


async def _check(settings: Config, online: bool) -> CheckReport:
    return await run_check(plan_run(settings), online=online)
