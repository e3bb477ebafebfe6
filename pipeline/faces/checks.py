"""What `pipeline check` found, as people read it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.engines.checking import CheckReport
from pipeline.faces.plain import counted, safe_line

__all__ = ["check_text"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def check_text(report: CheckReport, config: Mapping[str, Any] | None) -> str:
    """The effective configuration, then remarks, then problems, and a verdict at the end."""
    lines = _config_lines(config) if config is not None else []
    lines += [f"note     {safe_line(remark)}" for remark in report.remarks]
    lines += [f"problem  {safe_line(problem)}" for problem in report.problems]
    looked = f"{counted(report.rows, 'row')} read, {counted(report.images, 'image')} prepared, nothing sent"
    verdict = counted(len(report.problems), "problem") if report.problems else "no problems"
    return "\n".join([*lines, f"{verdict}: {looked}"])


def _config_lines(config: Mapping[str, Any]) -> list[str]:
    """Sections and keys as TOML, so that they can be copied into a file; what is not set is left out."""
    lines = []
    for section, values in config.items():
        shown = {name: value for name, value in values.items() if value not in (None, {}, [])}
        if shown:
            lines.append(f"[{section}]")
            lines += [f"{_key(name)} = {_toml(value)}" for name, value in shown.items()]
            lines.append("")
    return lines


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    """A plain value in one line; characters that a terminal would obey are escaped."""
    if isinstance(value, Mapping):
        pairs = [f"{_key(name)} = {_toml(inner)}" for name, inner in value.items() if inner is not None]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)
