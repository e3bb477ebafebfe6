"""The end of a run, and the state of a dataset, as people read them: what happened, why, what it cost, what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.engines.summary import RunSummary
from pipeline.faces.plain import counted, duration, money, safe_line
from pipeline.store.buckets import place_of
from pipeline.store.excerpt import rows_of_run
from pipeline.store.read import DatasetStatus
from pipeline.store.schema import Kind

__all__ = ["status_text", "summary_text"]

_SHOWN_CAPTIONS = 3
_SHOWN_FAILURES = 5
_WIDTH = 12


def summary_text(summary: RunSummary) -> str:
    """The summary of a run, with a few of its captions and failures."""
    items = summary.items
    lines = [
        _row("items", f"{counted(items['total'], 'item')}: {_parts(items)}"),
        *_examples(summary),
        _row("requests", _requests(summary.requests)),
        _row("tokens", _tokens(summary.usage)),
        _row("cost", money(summary.cost_usd)),
        _row("time", f"{duration(summary.seconds)}, {summary.images_per_second:.1f} images/s"),
        _row("output", safe_line(summary.output)),
        *([_row("stopped", safe_line(summary.reason))] if summary.reason else []),
        *[_row("next", hint) for hint in _hints(summary)],
    ]
    return "\n".join(lines)


def status_text(status: DatasetStatus) -> str:
    """What a dataset holds."""
    total = status.succeeded + status.failed
    lines = [
        _row("output", safe_line(str(status.output))),
        _row("items", f"{counted(total, 'item')}: {status.succeeded:,} succeeded, {status.failed:,} failed"),
        *[_row("", f"{number:,} {safe_line(kind, 60)}") for kind, number in status.failures_by_type.items()],
        _row("requests", _requests(asdict(status.requests))),
        _row("tokens", _tokens(asdict(status.usage))),
        _row("cost", money(status.cost_usd)),
        _row("runs", f"{len(status.runs):,}{_last_run(status.runs)}"),
    ]
    return "\n".join(lines)


def _row(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}}{text}"


def _parts(items: Mapping[str, int]) -> str:
    words = {
        "succeeded": "captioned",
        "reused": "copied from identical ones",
        "failed": "failed",
        "skipped": "settled before",
        "pending": "waiting",
    }
    said = [f"{items[name]:,} {word}" for name, word in words.items() if items[name] or name == "succeeded"]
    return ", ".join(said)


def _requests(requests: Mapping[str, int]) -> str:
    return (
        f"{requests['sent']:,} sent, {requests['succeeded']:,} answered, {requests['retried']:,} retried, "
        f"{requests['rate_limited']:,} rate limited"
    )


def _tokens(usage: Mapping[str, int]) -> str:
    text = f"{usage['input_tokens']:,} input, {usage['output_tokens']:,} output"
    cached = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    if not cached:
        return text
    return f"{text}, {usage['cache_creation_input_tokens']:,} cache written, {usage['cache_read_input_tokens']:,} read"


def _examples(summary: RunSummary) -> list[str]:
    """A few captions and failures of this run, out of its parts."""
    output = place_of(summary.output)
    captions = rows_of_run(output, Kind.RESULTS, summary.run_id, ["item_id", "caption"], _SHOWN_CAPTIONS)
    failures = rows_of_run(
        output, Kind.FAILURES, summary.run_id, ["item_id", "error_type", "error_message"], _SHOWN_FAILURES
    )
    lines = [_row("", f"{safe_line(row['item_id'], 40)}: {safe_line(row['caption'], 100)}") for row in captions]
    for row in failures:
        why = f"{row['error_type']}: {row['error_message']}"
        lines.append(_row("  failed", f"{safe_line(row['item_id'], 40)}: {safe_line(why, 200)}"))
    return lines


def _hints(summary: RunSummary) -> list[str]:
    items, hints = summary.items, []
    failed = items["failed"]
    if failed > _SHOWN_FAILURES:
        kinds = ", ".join(f"{number:,} {safe_line(kind, 60)}" for kind, number in summary.failures_by_type.items())
        hints.append(f"all {failed:,} failures are in {safe_line(summary.output)}/failures: {kinds}")
    if summary.unmended:
        hints.append(
            f"{counted(summary.unmended, 'item')} failed in earlier runs; once mended, run again with --retry-failed"
        )
    elif failed:
        hints.append("mend what failed and run again with --retry-failed; passing faults are taken up by themselves")
    if items["pending"]:
        hints.append("run the same command again: it goes on where this one stopped")
    return hints


def _last_run(runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return ""
    last = runs[-1]
    return f", the last {safe_line(str(last.get('run_id')), 60)} with exit code {last.get('exit_code')}"
