"""The page that people open: what it holds, and what it lets nobody do. Its looks are in `tests/browser`."""

import csv
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.attempts import eventful_run
from support.datasets import answered, write_run
from support.jobs import CANARY, Job, make_job
from support.naughty import NAUGHTY
from support.pages import gallery_dataset, naughty_dataset

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.errors import OutputError
from pipeline.faces import report
from pipeline.faces.report import report_html, write_report
from pipeline.store.reviews import Review, ReviewWriter, Verdict

pytestmark = pytest.mark.anyio


class Page(HTMLParser):
    """Elements, attributes and text of a page, and the rows inside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        blocks = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', text, re.DOTALL)
        self.blocks: dict[str, Any] = {name: json.loads(block) for name, block in blocks}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Notes text."""
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


async def dataset(folder: Path, url: str, rows: list[list[str]], **settings: Any) -> Job:
    """A run over two good pictures and these rows."""
    job = make_job(folder, url, images=2, settings=settings)
    job.add_rows(*rows)
    await run_job(plan_run(job.config(), {"ANTHROPIC_API_KEY": CANARY}), RunOptions(signals=False))
    return job


async def test_the_page_shows_captions_failures_and_totals(tmp_path: Path, start_standin: Any) -> None:
    """Each item has its row, each kind of failure its remedy, the dataset its sums, the run what bound it."""
    job = await dataset(tmp_path, start_standin().url, [["gone", "gone.jpg", "Gone"]], output={"thumbnail_edge": 32})
    html = report_html(job.output)
    page = Page(html)
    rows = {row["id"]: row for row in page.blocks["rows"]}
    assert set(rows) == {"item-000", "item-001", "gone"}
    assert "landscape picture" in rows["item-000"]["caption"]
    assert rows["item-000"]["manifest"] == {"title": "Picture 0"}
    assert rows["item-000"]["thumbnail"].startswith("data:image/webp;base64,")
    assert rows["gone"]["kind"] == "image_missing"
    text = " ".join(page.texts)
    assert "put the file where the manifest says it is" in text
    assert "All 3 items are here." in text
    assert "bound by" in text
    assert len(page.named("svg")) == len(page.named("figure")) == 6
    assert CANARY not in html


async def test_pictures_are_made_where_the_dataset_has_none(tmp_path: Path, start_standin: Any) -> None:
    """Out of the originals, where the run found them."""
    job = await dataset(tmp_path, start_standin().url, [])
    rows = Page(report_html(job.output)).blocks["rows"]
    assert [row["thumbnail"][:22] for row in rows] == ["data:image/webp;base64"] * 2


async def test_a_mended_failure_is_not_shown_any_more(tmp_path: Path, start_standin: Any) -> None:
    """The page shows the newest state of each item."""
    server = start_standin("400:at=1")
    job = await dataset(tmp_path, server.url, [])
    assert "scripted 400" in report_html(job.output)

    options = RunOptions(Choice(retry_failed=True), signals=False)
    await run_job(plan_run(job.config(), {"ANTHROPIC_API_KEY": "k"}), options)
    html = report_html(job.output)
    assert "scripted 400" not in html
    assert len(Page(html).blocks["rows"]) == 2


def test_reviews_are_shown(tmp_path: Path) -> None:
    """The edited caption beside who edited it; how many there are of each verdict."""
    write_run(tmp_path, [answered("a"), answered("b")])
    when = datetime(2026, 5, 1, tzinfo=UTC)
    ReviewWriter(tmp_path).add(Review("a", "f1", Verdict.EDITED, "ada", when, "better"))
    page = Page(report_html(tmp_path))
    shown = {row["id"]: row.get("review") for row in page.blocks["rows"]}
    assert shown["a"] == {"verdict": "edited", "caption": "better", "reviewer": "ada", "at": "2026-05-01 00:00"}
    assert shown["b"] is None
    assert "reviewed: edited" in " ".join(page.texts)


def test_what_comes_from_manifests_and_services_is_data(tmp_path: Path) -> None:
    """Naughty texts make no element, no attribute and no template, and come out as they went in."""
    html = report_html(naughty_dataset(tmp_path))
    page = Page(html)
    assert len(page.named("script")) == 3
    assert page.named("img") == page.named("iframe") == []
    assert len(page.named("svg")) == len(page.named("figure"))
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "autofocus"]
    rows = page.blocks["rows"]
    assert {row["id"] for row in rows if not row["failed"]} == set(NAUGHTY)
    assert {row["caption"] for row in rows if not row["failed"]} == set(NAUGHTY)
    assert {row["kind"] for row in rows if row["failed"]} == set(NAUGHTY)
    assert list(rows[0]["manifest"]) == list(NAUGHTY)


def test_charts_can_be_read_without_seeing_them(tmp_path: Path) -> None:
    """Each has a name that says what it shows, and its figures as a table; nothing in it needs a script or style."""
    gallery_dataset(tmp_path)
    eventful_run(tmp_path, "run-2", 1000, 300)
    page = Page(report_html(tmp_path))
    plots = [attributes for attributes in page.named("div") if attributes.get("role") == "img"]
    assert len(plots) == len(page.named("figcaption")) == len(page.named("details")) - 1 == 8
    assert all(re.fullmatch(r".+: .*\d.*", str(plot["aria-label"])) for plot in plots)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [attributes for _, attributes in page.elements if "style" in attributes] == []
    assert len(page.named("style")) == 1
    assert len(page.named("section")) == 2


def test_a_large_dataset_is_sampled_and_the_size_stated(tmp_path: Path) -> None:
    """More failures and answers than the page takes: both numbers are said, and totals are of all."""
    items = report.MOST_ANSWERS + 100
    gallery_dataset(tmp_path / "out", items=20)
    write_run(tmp_path / "out", [answered(f"more-{number}") for number in range(items)], run_id="run-2")
    html = report_html(tmp_path / "out")
    page = Page(html)
    assert len(page.blocks["rows"]) == report.MOST_ANSWERS + 5
    text = " ".join(page.texts)
    assert "a random sample of 2,000 of 2,115 captions" in text
    assert "2,115" in text
    assert report_html(tmp_path / "out") == html


async def test_the_page_is_written_whole_and_only_when_it_differs(tmp_path: Path, start_standin: Any) -> None:
    """By default it stands in the dataset; the same dataset makes the same bytes."""
    job = await dataset(tmp_path, start_standin().url, [])
    place = write_report(job.output)
    assert place == job.output / "report.html"
    before = place.stat().st_mtime_ns
    assert write_report(job.output).stat().st_mtime_ns == before
    elsewhere = tmp_path / "page.html"
    assert write_report(job.output, elsewhere).read_bytes() == place.read_bytes()


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """The message names it."""
    with (tmp_path / "x.csv").open("w") as file:
        csv.writer(file).writerow(["a"])
    with pytest.raises(OutputError, match=re.escape(str(tmp_path))):
        write_report(tmp_path)


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    """And entries of runs that are odd break nothing."""
    (tmp_path / "results").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "odd.json").write_text(
        json.dumps({"items": 7, "seconds": "x", "limit_waits_s": [1], "run_id": "\ud800"})
    )
    (tmp_path / "runs" / "bound.json").write_text(json.dumps({"limit_waits_s": {"input": 7.25, "requests": 1}}))
    text = " ".join(Page(write_report(tmp_path).read_text("utf-8")).texts)
    assert "All 0 items are here." in text
    assert "input tokens a minute, 7.2 s" in text
