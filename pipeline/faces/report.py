"""`pipeline report`: one HTML page that opens from disk, mails as a file, and asks nobody for anything.

Totals, charts and tables are of the whole dataset. The gallery holds the items that stand as failed and a stable random
sample of the answers, as many as keep the page small enough to mail, and says how many that is. Reviews are shown.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.exports.exporting import originals_of
from pipeline.faces.charts import run_charts, spread_charts
from pipeline.faces.gallery import gallery_row
from pipeline.faces.page import page_parts, rendered
from pipeline.faces.plain import counted, money
from pipeline.faces.thumbnails import add_thumbnails
from pipeline.store.buckets import Place
from pipeline.store.parts import write_whole
from pipeline.store.picking import rows_at, stable_sample
from pipeline.store.read import DatasetStatus, dataset_status, read_results, steady
from pipeline.store.reviews import Reviews, Verdict, newest_reviews
from pipeline.store.schema import Kind

__all__ = ["MOST_ANSWERS", "MOST_FAILURES", "PICTURE_CHARACTERS", "report_html", "write_report"]

MOST_ANSWERS = 2000
MOST_FAILURES = 500
PICTURE_CHARACTERS = 12_000_000
"""Of thumbnails in one page: mail servers commonly refuse what is over 20 to 25 MB."""
_REMEDIES = {
    "image_missing": "put the file where the manifest says it is, or mend the path",
    "image_refused": "it lies outside manifest.root, behind a private address, or is no regular file",
    "image_too_large": "shrink it, or raise images.max_bytes or images.max_pixels",
    "image_unsupported": "convert it to JPEG, PNG, GIF or WebP",
    "image_corrupt": "replace the damaged file",
    "image_fetch_failed": "see whether the URL answers",
    "duplicate_id": "give rows with other images another id",
    "prompt_error": "fill the column that the prompt uses",
    "refusal": "the model declined; look at the picture",
    "schema_mismatch": "look at the answer; simplify prompt.schema, or raise prompt.schema_retries or api.max_tokens",
    "bad_response": "the answer could not be read; its bytes are under _state/unreadable",
    "connection_error": "taken up again by the next run",
    "timeout": "taken up again by the next run, or raise api.timeout_seconds",
    "batch_expired": "taken up again by the next run",
    "batch_canceled": "run again with --retry-failed --only batch_canceled",
    "invalid_request_error": "the service refused the request; its message says why",
    "request_too_large": "lower images.max_edge or images.quality, or send fewer images",
    "overloaded_error": "taken up again by the next run",
    "rate_limit_error": "taken up again by the next run",
    "api_error": "taken up again by the next run",
}
_LIMITS = {
    "requests": "requests a minute",
    "input": "input tokens a minute",
    "output": "output tokens a minute",
}


def write_report(output: Place, target: Path | None = None) -> Place:
    """Writes the page, atomically, and only where it differs from what stands there; returns its place.

    Raises:
        OutputError: `output` is no dataset.
        OSError: the page cannot be written.
    """
    page = steady(output, lambda: report_html(output)).encode("utf-8", "replace")
    place = target or output / "report.html"
    if not place.is_file() or place.read_bytes() != page:
        write_whole(place, page)
    return place


def report_html(output: Place) -> str:
    """The page of a dataset as it stands.

    Raises:
        OutputError: `output` is no dataset.
    """
    status = dataset_status(output)
    fingerprint = next(iter(status.fingerprints), None)
    reviews = newest_reviews(output)
    rows = [*_answered(output, fingerprint, reviews), *_failed(output)]
    room = PICTURE_CHARACTERS - sum(len(row["thumbnail"]) for row in rows)
    add_thumbnails(rows, originals_of(output, None), room)
    name = output.resolve().name or str(output)
    return rendered(
        "report.html.j2",
        page=page_parts(["base.css", "charts.css"], ["gallery.js", "report.js"]),
        title=f"{name}: captions",
        name=name,
        facts=_facts(status, reviews),
        failures=[
            (kind, number, _REMEDIES.get(kind, "see the message")) for kind, number in status.failures_by_type.items()
        ],
        runs=[_run(run) for run in reversed(status.runs[-20:])],
        run_charts=run_charts(output),
        spread_charts=spread_charts(output, fingerprint),
        rows=rows,
        shown=_shown(status, fingerprint, rows),
        reviewing=False,
    )


def _facts(status: DatasetStatus, reviews: Reviews) -> list[tuple[str, str]]:
    usage, requests = status.usage, status.requests
    each = money(status.cost_usd / status.succeeded) if status.succeeded else "–"
    verdicts = [review.verdict for review in reviews.values()]
    return [
        ("captioned", f"{status.succeeded:,}"),
        ("failed", f"{status.failed:,}"),
        ("cost", money(status.cost_usd)),
        ("a caption", each),
        ("input tokens", f"{usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens:,}"),
        ("output tokens", f"{usage.output_tokens:,}"),
        ("requests", f"{requests.sent:,}"),
        ("retried", f"{requests.retried:,}"),
        *[(f"reviewed: {verdict}", f"{verdicts.count(verdict):,}") for verdict in Verdict if verdict in verdicts],
    ]


def _run(run: dict[str, Any]) -> dict[str, str]:
    items = run.get("items") if isinstance(run.get("items"), dict) else {}
    return {
        "run": str(run.get("run_id", "")),
        "started": str(run.get("started_at", ""))[:19].replace("T", " "),
        "exit": "killed" if run.get("exit_code") is None else str(run["exit_code"]),
        "captioned": f"{_number(items, 'succeeded'):,}",
        "failed": f"{_number(items, 'failed'):,}",
        "seconds": f"{_number(run, 'seconds'):,.1f}",
        "speed": f"{_number(run, 'images_per_second'):,.1f}",
        "bound": _bound(run),
        "cost": money(_number(run, "cost_usd")),
    }


def _bound(run: dict[str, Any]) -> str:
    """What kept the run from being faster, as far as it noted that: the limit that it waited for the longest."""
    waits = run.get("limit_waits_s")
    if not isinstance(waits, dict):
        return "–"
    found = {name: _number(waits, name) for name in waits if _number(waits, name) > 0}
    if not found:
        return "no limit"
    name = max(found, key=lambda one: found[one])
    return f"{_LIMITS.get(name, name)}, {found[name]:,.1f} s"


def _number(values: Any, name: str) -> float:
    found = values.get(name)
    return found if isinstance(found, int | float) else 0


def _failed(output: Place) -> list[dict[str, Any]]:
    rows = read_results(output, failures=True).slice(0, MOST_FAILURES).to_pylist()
    return [gallery_row(row) for row in rows]


def _answered(output: Place, fingerprint: str | None, reviews: Reviews) -> Iterator[dict[str, Any]]:
    """A sample of the answers, until their pictures fill the page."""
    if fingerprint is None:
        return
    room = PICTURE_CHARACTERS
    for row in rows_at(stable_sample(output, Kind.RESULTS, fingerprint, MOST_ANSWERS), Kind.RESULTS):
        if row is None:
            continue
        shown = gallery_row(row, reviews.get((row["item_id"], fingerprint)))
        room -= len(shown["thumbnail"])
        if room < 0:
            return
        yield shown


def _shown(status: DatasetStatus, fingerprint: str | None, rows: list[dict[str, Any]]) -> str:
    succeeded, failed = status.fingerprints.get(fingerprint or "", (0, 0))
    shown_failed = sum(row["failed"] for row in rows)
    shown = len(rows) - shown_failed
    parts = []
    if shown < succeeded:
        parts.append(f"a random sample of {shown:,} of {counted(succeeded, 'caption')}")
    if shown_failed < failed:
        parts.append(f"{shown_failed:,} of {counted(failed, 'failure')}")
    if not parts:
        return f"All {counted(succeeded + failed, 'item')} are here."
    return f"Here are {' and '.join(parts)}; totals, charts and tables are of all."
