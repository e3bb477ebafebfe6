"""What `pipeline view` knows of a dataset: its items as they come, its pace and money, and what reviewers decide.

Reads the dataset over and over, and writes nothing but reviews. One thing at a time: callers hold `Watch.lock`.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio

from pipeline.exports.folders import Originals
from pipeline.faces.gallery import gallery_row
from pipeline.images.local import read_local
from pipeline.store.billing import Bill, RunningBill
from pipeline.store.browsing import Browser
from pipeline.store.buckets import Place
from pipeline.store.parts import Stamp, stamp_of
from pipeline.store.reviews import Review, ReviewWriter, Verdict, newest_reviews
from pipeline.store.searching import CAPTIONED, Query

__all__ = ["ReviewError", "Watch"]

_REFRESH_S = 1.0
_PACE_S = 60
_MOST_BYTES = 50_000_000
_LONGEST_CAPTION = 100_000
_LONGEST_NAME = 200
_OPEN = "open"


class ReviewError(Exception):
    """A review that cannot be taken; the message says why. `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Watch:
    """A dataset under watch.

    Args:
        output: the dataset.
        originals: where its pictures are.
        reviewer: who decides, where a request does not say.
        fingerprint: whose answers; without one, the newest row's.
    """

    def __init__(self, output: Place, originals: Originals, reviewer: str, fingerprint: str | None = None) -> None:
        self.lock = anyio.Lock()
        self.reviewer = reviewer
        self.revision = 0
        self._output = output
        self._originals = originals
        self._browser = Browser(output, fingerprint)
        self._bill = RunningBill(output)
        self._billed = Bill()
        self._writer = ReviewWriter(output)
        self._reviews: dict[tuple[str, str], Review] = {}
        self._review_parts: dict[Place, Stamp | None] | None = None
        self._refreshed = float("-inf")

    def refresh(self) -> None:
        """Takes up what is new, at most once a second."""
        if time.monotonic() - self._refreshed < _REFRESH_S:
            return
        if self._browser.refresh():
            self.revision += 1
        self._billed = self._bill.now(self._browser.waiting)
        parts = {path: stamp_of(path) for path in (self._output / "reviews").glob("part-*.parquet")}
        if parts != self._review_parts:
            self._review_parts = parts
            self._reviews = newest_reviews(self._output)
            self.revision += 1
        self._refreshed = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Totals, pace and money now, and what there is to filter by."""
        self.refresh()
        facets, waiting = self._browser.facets(), self._browser.waiting
        now_us = time.time_ns() // 1000
        newest_us = max(self._browser.newest_us(), waiting.last_request_us)
        verdicts = [review.verdict for review in self._mine().values()]
        captioned = facets["kinds"].get(CAPTIONED, 0)
        return {
            "revision": self.revision,
            "fingerprint": self._browser.fingerprint,
            "captioned": captioned,
            "failed": len(self._browser) - captioned,
            "left_out": self._browser.left_out,
            "sent": self._billed.sent,
            "output_tokens": self._billed.output_tokens,
            "cost_usd": self._billed.cost_usd,
            "items_per_second": self._pace(now_us),
            "newest_s": (now_us - newest_us) / 1e6 if newest_us else None,
            "runs": [str(run["run_id"]) for run in waiting.runs],
            "reviewed": {verdict.value: verdicts.count(verdict) for verdict in Verdict if verdict in verdicts},
            "facets": facets,
        }

    def items(self, query: Query, verdict: str, offset: int, most: int) -> dict[str, Any]:
        """A page of items. A part that a compaction took away meanwhile is looked for anew."""
        self.refresh()
        query = self._among(query, verdict)
        found = self._browser.find(query, offset, most)
        if len(found.rows) < min(most, found.total - offset):
            self._browser.refresh()
            found = self._browser.find(query, offset, most)
        return {"total": found.total, "rows": [self._shown(row) for row in found.rows]}

    def picture(self, item_id: str, fingerprint: str) -> bytes | None:
        """The original of an item's first image, where it is a local file inside the roots of its run.

        Raises:
            ImageError: it cannot be read.
        """
        self.refresh()
        row = self._browser.row(item_id, fingerprint)
        source = _local_source(row) if row is not None else None
        if source is None:
            return None
        return read_local(source, self._originals.root, self._originals.allow_roots, _MOST_BYTES)

    def review(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Writes a decision down, and returns the item as it is now shown.

        Raises:
            ReviewError: it is not one that can be taken.
            OSError: it cannot be written.
        """
        self.refresh()
        item_id, fingerprint = _text(asked, "id"), _text(asked, "fingerprint")
        row = self._browser.row(item_id, fingerprint)
        if row is None or row.get("error_type") is not None:
            raise ReviewError(f"there is no caption of {item_id} under {fingerprint} to review", 404)
        verdict = _verdict(asked)
        caption = _caption(asked, structured="data" in row) if verdict is Verdict.EDITED else None
        reviewer = (_text(asked, "reviewer", default="").strip() or self.reviewer)[:_LONGEST_NAME]
        review = Review(item_id, fingerprint, verdict, reviewer, datetime.now(UTC), caption)
        self._writer.add(review)
        self._reviews.pop((item_id, fingerprint), None)
        if verdict is not Verdict.CLEARED:
            self._reviews[item_id, fingerprint] = review
        return self._shown(row)

    def _pace(self, now_us: int) -> float:
        """Items a second over the last minute, or since the run's start."""
        starts = [_micros(run.get("started_at")) for run in self._browser.waiting.runs]
        since_us = max(now_us - _PACE_S * 1_000_000, *starts, 0)
        return self._browser.made_since(since_us) / max((now_us - since_us) / 1e6, 1.0)

    def _mine(self) -> dict[tuple[str, str], Review]:
        """The reviews of the fingerprint that is shown."""
        return {key: review for key, review in self._reviews.items() if key[1] == self._browser.fingerprint}

    def _among(self, query: Query, verdict: str) -> Query:
        mine = self._mine()
        if verdict == _OPEN:
            return replace(query, kind=query.kind or CAPTIONED, apart_from=frozenset(item_id for item_id, _ in mine))
        if not verdict:
            return query
        wanted = frozenset(key[0] for key, review in mine.items() if review.verdict == verdict)
        return replace(query, kind=CAPTIONED, among=wanted)

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = gallery_row(row, self._reviews.get((row["item_id"], row["fingerprint"])))
        return {**shown, "has_original": _local_source(row) is not None}


def _micros(text: object) -> int:
    """Microseconds since the epoch of a time in ISO form; 0 for what is none."""
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e6) if isinstance(text, str) else 0
    except ValueError:
        return 0


def _local_source(row: dict[str, Any]) -> str | None:
    source = row["images"][0]["source"] if row["images"] else None
    if source is None or source.startswith(("data:", "sha256:")):
        return None
    return str(source) if "://" not in source or source.startswith("file:") else None


def _verdict(asked: Mapping[str, Any]) -> Verdict:
    try:
        return Verdict(_text(asked, "verdict"))
    except ValueError:
        raise ReviewError(f"verdict: found {asked['verdict']!r}; allowed: {', '.join(Verdict)}") from None


def _caption(asked: Mapping[str, Any], *, structured: bool) -> str:
    caption = _text(asked, "caption").strip()
    if not caption or len(caption) > _LONGEST_CAPTION:
        raise ReviewError(f"caption: found {len(caption):,} characters; allowed: 1 to {_LONGEST_CAPTION:,}")
    if structured:
        try:
            json.loads(caption)
        except ValueError as error:
            raise ReviewError(f"caption: this answer is structured, so it must be JSON: {error}") from None
    return caption


def _text(asked: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = asked.get(name, default)
    if not isinstance(value, str):
        raise ReviewError(f"{name}: found {value!r}; allowed: a text")
    return value
