"""Commands over a dataset: `status`, `report`, `export`, `compact`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.commands.saying import say
from pipeline.errors import OutputError
from pipeline.exports.exporting import Format, export
from pipeline.faces.logs import set_up_logs
from pipeline.faces.plain import counted
from pipeline.faces.report import write_report
from pipeline.faces.summary import status_text
from pipeline.store.buckets import place_of
from pipeline.store.compact import compact
from pipeline.store.read import DatasetStatus, dataset_status
from pipeline.store.reviews import newest_reviews
from pipeline.store.rows import TOKEN_COLUMNS

__all__ = ["compact_command", "export_command", "report_command", "status_command"]


def status_command(output: Path, *, as_json: bool) -> int:
    """Tells what a dataset holds."""
    set_up_logs("text", None, ())
    status = dataset_status(output)
    say(json.dumps(_status_object(status)) if as_json else status_text(status))
    return 0


def report_command(output: Path, target: Path | None) -> int:
    """Writes the page of a dataset."""
    set_up_logs("text", None, ())
    try:
        place = write_report(place_of(output), target)
    except OSError as error:
        raise OutputError(f"{target or output}: the report cannot be written: {error.strerror or error}") from error
    say(f"report      {place}")
    return 0


def export_command(output: Path, form: Format, target: Path, root: Path | None, *, reviewed: bool) -> int:
    """Writes captions in another shape."""
    set_up_logs("text", None, ())
    count = export(place_of(output), form, target, root, reviewed=reviewed)
    note = ", as reviewed (--no-reviewed: as answered)" if reviewed and newest_reviews(place_of(output)) else ""
    say(f"{counted(count, 'caption')} exported to {target}{note}")
    return 0


def compact_command(output: Path) -> int:
    """Merges small parts."""
    set_up_logs("text", None, ())
    done = compact(output)
    say(f"{counted(done.before, 'part')} before, {done.after:,} now")
    return 0


def _status_object(status: DatasetStatus) -> dict[str, Any]:
    total = status.succeeded + status.failed
    return {
        "items": {"total": total, "succeeded": status.succeeded, "failed": status.failed},
        "requests": asdict(status.requests),
        "usage": {name: getattr(status.usage, name) for name in TOKEN_COLUMNS},
        "cost_usd": status.cost_usd,
        "failures_by_type": dict(status.failures_by_type),
        "fingerprints": {mark: sum(counts) for mark, counts in status.fingerprints.items()},
        "runs": [run.get("run_id") for run in status.runs],
        "output": str(status.output),
    }
