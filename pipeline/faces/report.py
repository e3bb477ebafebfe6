"""`pipeline report`: one HTML page that opens from disk, mails as a file, and asks nobody for anything.

Captions, ids, paths and messages are data: everything is escaped by the template engine, and the page's own policy
allows no script but the one whose hash it names, no connection, no frame, and no image but those inside the page.
The gallery shows at most `MOST_CARDS` answers and `MOST_FAILURES` failures and says so.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipeline.faces.plain import counted, money
from pipeline.store.parts import list_parts, write_whole
from pipeline.store.read import DatasetStatus, dataset_status, read_results, steady
from pipeline.store.schema import Kind
from pipeline.store.tables import read_part

__all__ = ["MOST_CARDS", "MOST_FAILURES", "Card", "report_html", "write_report"]

MOST_CARDS = 600
MOST_FAILURES = 300
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
    "bad_response": "the answer could not be read; its bytes are under _state/unreadable",
    "connection_error": "taken up again by the next run",
    "timeout": "taken up again by the next run, or raise api.timeout_seconds",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One item of the gallery, as the template shows it; `thumbnail` is a `data:` URI or empty."""

    item_id: str
    caption: str
    kind: str
    note: str
    source: str
    size: str
    cost: str
    tokens: str
    warnings: tuple[str, ...]
    thumbnail: str = ""

    @property
    def haystack(self) -> str:
        """What the page's search looks through."""
        return " ".join((self.item_id, self.caption, self.note, self.source, *self.warnings)).lower()


def write_report(output: Path, target: Path | None = None) -> Path:
    """Writes the page, atomically, and only where it differs from what stands there; returns its place.

    Raises:
        OutputError: `output` is no dataset.
        OSError: the page cannot be written.
    """
    page = steady(output, lambda: report_html(output)).encode()
    place = target or output / "report.html"
    if not place.is_file() or place.read_bytes() != page:
        write_whole(place, page)
    return place


def report_html(output: Path) -> str:
    """The page of a dataset as it stands.

    Raises:
        OutputError: `output` is no dataset.
    """
    status = dataset_status(output)
    here = files("pipeline.faces")
    script = here.joinpath("report.js").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(here.joinpath("report.html.j2").read_text("utf-8"))
    cards = [*_failed_cards(output), *_captioned_cards(output, next(iter(status.fingerprints), None))]
    return template.render(
        title=output.resolve().name or str(output),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=here.joinpath("report.css").read_text("utf-8"),
        facts=_facts(status),
        failures=[
            (kind, number, _REMEDIES.get(kind, "see the message")) for kind, number in status.failures_by_type.items()
        ],
        runs=_runs(status),
        cards=cards,
        shown=_shown(status, cards),
    )


def _facts(status: DatasetStatus) -> list[tuple[str, str]]:
    usage, requests = status.usage, status.requests
    each = money(status.cost_usd / status.succeeded) if status.succeeded else "–"
    return [
        ("captioned", f"{status.succeeded:,}"),
        ("failed", f"{status.failed:,}"),
        ("cost", money(status.cost_usd)),
        ("a caption", each),
        ("input tokens", f"{usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens:,}"),
        ("output tokens", f"{usage.output_tokens:,}"),
        ("requests", f"{requests.sent:,}"),
        ("retried", f"{requests.retried:,}"),
    ]


def _runs(status: DatasetStatus) -> list[dict[str, str]]:
    shown = []
    for run in status.runs[-20:]:
        items = run.get("items") if isinstance(run.get("items"), dict) else {}
        shown.append(
            {
                "run": str(run.get("run_id", "")),
                "started": str(run.get("started_at", ""))[:19].replace("T", " "),
                "exit": "killed" if run.get("exit_code") is None else str(run["exit_code"]),
                "captioned": f"{_number(items, 'succeeded'):,}",
                "failed": f"{_number(items, 'failed'):,}",
                "seconds": f"{_number(run, 'seconds'):,.1f}",
                "speed": f"{_number(run, 'images_per_second'):,.1f}",
                "cost": money(_number(run, "cost_usd")),
            }
        )
    return shown


def _number(values: Any, name: str) -> float:
    found = values.get(name)
    return found if isinstance(found, int | float) else 0


def _failed_cards(output: Path) -> list[Card]:
    rows = read_results(output, failures=True).slice(0, MOST_FAILURES).to_pylist()
    return [_card(row, Kind.FAILURES) for row in rows]


def _captioned_cards(output: Path, fingerprint: str | None) -> Iterator[Card]:
    """Answers under the newest fingerprint, the newest parts first; one part in memory at a time."""
    left = MOST_CARDS
    for path in reversed(list_parts(output, Kind.RESULTS)):
        for batch in read_part(path, Kind.RESULTS, None, fingerprint):
            for row in batch.slice(0, left).to_pylist():
                yield _card(row, Kind.RESULTS)
            left -= min(left, len(batch))
            if not left:
                return


def _card(row: dict[str, Any], kind: Kind) -> Card:
    images = row["images"] or [{}]
    image = images[0]
    sides = (image.get("width"), image.get("height"), image.get("sent_width"), image.get("sent_height"))
    size = f"{sides[0]} × {sides[1]}, sent {sides[2]} × {sides[3]}" if None not in sides else ""
    failed = kind is Kind.FAILURES
    found = [*(row.get("warnings") or ()), *(mark for one in images for mark in one.get("warnings") or ())]
    return Card(
        item_id=row["item_id"],
        caption="" if failed else row["caption"],
        kind=row["error_type"] if failed else "captioned",
        note=row["error_message"] if failed else "",
        source=", ".join(str(one.get("source", "")) for one in images),
        size=size,
        cost=money(row["cost_usd"] or 0.0),
        tokens=f"{row['input_tokens'] or 0:,} in, {row['output_tokens'] or 0:,} out",
        warnings=tuple(dict.fromkeys(found)),
        thumbnail=_data_uri(row.get("thumbnail")),
    )


def _data_uri(raw: bytes | None) -> str:
    return f"data:image/webp;base64,{base64.b64encode(raw).decode()}" if raw else ""


def _shown(status: DatasetStatus, cards: list[Card]) -> str:
    total = status.succeeded + status.failed
    if len(cards) >= total:
        return counted(total, "item")
    return f"the newest {len(cards):,} of {counted(total, 'item')}"
