"""What `pipeline check` found, as people read it."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.engines.checking import CheckReport
from pipeline.faces.plain import counted, safe_line

__all__ = ["check_text"]


def check_text(report: CheckReport, config: Mapping[str, Any] | None) -> str:
    """The effective configuration, then remarks, then problems, and a verdict at the end."""
    lines = _config_lines(config) if config is not None else []
    lines += [f"note     {safe_line(remark)}" for remark in report.remarks]
    lines += [f"problem  {safe_line(problem)}" for problem in report.problems]
    looked = f"{counted(report.rows, 'row')} read, {counted(report.images, 'image')} prepared, nothing sent"
    verdict = counted(len(report.problems), "problem") if report.problems else "no problems"
    return "\n".join([*lines, f"{verdict}: {looked}"])


def _config_lines(config: Mapping[str, Any]) -> list[str]:
    """Sections and keys as TOML would have them; what is not set is left out."""
    lines = []
    for section, values in config.items():
        shown = {name: value for name, value in values.items() if value not in (None, {}, [])}
        if shown:
            lines.append(f"[{section}]")
            lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in shown.items()]
            lines.append("")
    return lines
