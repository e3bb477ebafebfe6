"""The page that people open: what it holds, and what it lets nobody do."""

import base64
import csv
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Job, make_job

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.errors import OutputError
from pipeline.faces.report import report_html, write_report

pytestmark = pytest.mark.anyio
NAUGHTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title></script><!--",
    "&lt;b&gt; javascript:alert(1)",
)


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

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
    await run_job(plan_run(job.config(), {"ANTHROPIC_API_KEY": "k"}), RunOptions(signals=False))
    return job


async def test_the_page_shows_captions_failures_and_totals(tmp_path: Path, start_standin: Any) -> None:
    """Each item has its card, each kind of failure its remedy, the dataset its sums."""
    job = await dataset(tmp_path, start_standin().url, [["gone", "gone.jpg", "Gone"]], output={"thumbnail_edge": 32})
    page = Page(report_html(job.output))
    text = " ".join(page.texts)
    assert len(page.named("article")) == 3
    assert "landscape picture" in text
    assert "image_missing" in text
    assert "put the file where the manifest says it is" in text
    assert len([image for image in page.named("img") if str(image["src"]).startswith("data:image/webp;base64,")]) == 2
    assert {attributes["data-kind"] for attributes in page.named("article")} == {"captioned", "image_missing"}


async def test_a_mended_failure_is_not_shown_any_more(tmp_path: Path, start_standin: Any) -> None:
    """The page shows the newest state of each item."""
    server = start_standin("400:at=1")
    job = await dataset(tmp_path, server.url, [])
    assert "scripted 400" in report_html(job.output)

    options = RunOptions(Choice(retry_failed=True), signals=False)
    await run_job(plan_run(job.config(), {"ANTHROPIC_API_KEY": "k"}), options)
    page = report_html(job.output)
    assert "scripted 400" not in page
    assert page.count("<article") == 2


async def test_what_comes_from_manifests_and_services_is_text_and_nothing_else(
    tmp_path: Path, start_standin: Any
) -> None:
    """Naughty strings as ids and paths make no element, no attribute and no template."""
    rows = [[text, f"{number}{text}.jpg", text] for number, text in enumerate(NAUGHTY)]
    job = await dataset(tmp_path, start_standin().url, rows)
    page = Page(report_html(job.output))
    assert len(page.named("script")) == 1
    assert page.named("img") == []
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "autofocus"]
    ids = [text for text in page.texts if text.strip()]
    for text in NAUGHTY:
        assert text in ids


async def test_the_policy_allows_the_pages_own_script_alone(tmp_path: Path, start_standin: Any) -> None:
    """The script runs by its hash; nothing is asked of any host."""
    job = await dataset(tmp_path, start_standin().url, [])
    html = report_html(job.output)
    policy = next(str(meta["content"]) for meta in Page(html).named("meta") if "http-equiv" in meta)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"(src|href)=\"?(https?:)?//", html)


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
