"""The report in a browser, from disk: looked at, read by axe, searched, and unable to do harm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.attempts import eventful_run
from support.naughty import NAUGHTY
from support.pages import gallery_dataset, naughty_dataset

from pipeline.faces.report import write_report

LOOKS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, aside: Callable[..., Any]) -> str:
    """The report of sixty items and three runs."""
    output = aside(gallery_dataset, tmp_path_factory.mktemp("report") / "photos")
    aside(eventful_run, output, "run-2", 1000, 110)
    aside(eventful_run, output, "run-3", 5000, 2.5 * 3600)
    return Path(write_report(output)).as_uri()


def cards(page: Any) -> list[str]:
    """The names on the cards, in order."""
    found: list[str] = page.locator(".card .name").all_text_contents()
    return found


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_can_be_read_in_every_look(address: str, visit: Callable[..., Any], width: int, scheme: str) -> None:
    """Wide and narrow, light and dark: nothing serious for axe, no scrolling sideways, charts drawn."""
    watched = visit(address, width, scheme)
    watched.shot(f"report-{width}-{scheme}")
    assert watched.violations() == []
    assert watched.fits()
    assert watched.page.locator(".charts svg:visible").count() == 5
    watched.page.locator("#run-choice").evaluate("choice => choice.scrollIntoView()")
    watched.shot(f"report-charts-{width}-{scheme}")
    watched.page.locator(".card").first.click()
    watched.page.locator("dialog[open]").wait_for()
    watched.shot(f"report-item-{width}-{scheme}")
    assert watched.violations() == []
    watched.check()


def test_one_run_is_chosen(address: str, visit: Callable[..., Any]) -> None:
    """The newest is shown first; choosing shows another, and its table opens."""
    page = visit(address).page
    runs = page.locator("#run option").all_text_contents()
    assert [name.rpartition(" ")[2] for name in runs] == ["run-3", "run-2", "run-1"]
    assert page.locator(".run:visible").get_attribute("aria-label") == f"Run {runs[0]}"
    page.select_option("#run", "1")
    assert page.locator(".run:visible").get_attribute("aria-label") == f"Run {runs[1]}"
    page.locator(".run:visible summary").first.click()
    assert page.locator(".run:visible table").first.locator("tbody tr:visible").count() > 100


def test_charts_need_no_script(address: str, browser: Any) -> None:
    """Without scripts the charts of all runs are there, each under its run's name."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".charts svg:visible").count() == 3 * 3 + 2
    assert page.locator(".run h3:visible").count() == 3
    context.close()


def test_charts_follow_the_scheme_and_the_width(address: str, visit: Callable[..., Any]) -> None:
    """Lines take other colours in the dark; text in a chart is as large as small print, wide or narrow."""
    colours = set()
    for width, scheme in LOOKS[::3]:
        page = visit(address, width, scheme).page
        colours.add(page.locator(".run:visible .a .line").first.evaluate("line => getComputedStyle(line).stroke"))
        scale = page.locator(".run:visible svg").first.evaluate("svg => svg.getBoundingClientRect().width / 360")
        assert 11 <= 12 * scale <= 17
    assert len(colours) == 2


def test_search_and_filters(address: str, visit: Callable[..., Any]) -> None:
    """By words, status, warning, and any column; what is found is counted and sorted."""
    page = visit(address).page
    found = page.locator("#found")
    assert found.text_content() == "60 found, 1 to 48 shown"
    page.fill("#words", "TOWER photo-002")
    assert cards(page) == ["photo-002"]
    page.fill("#words", "")
    page.select_option("#kind", "refusal")
    assert found.text_content() == "5 found"
    assert "refusal: photo-0" in page.locator(".card").first.text_content()
    page.select_option("#kind", "")
    page.select_option("#warning", "truncated")
    assert found.text_content() == "7 found"
    page.select_option("#warning", "")
    page.select_option("#column", "place")
    page.fill("#value", "turin")
    assert found.text_content() == "18 found"
    page.select_option("#sort", "column:year")
    page.select_option("#order", "up")
    assert cards(page)[:2] == ["photo-001", "photo-004"]
    page.fill("#words", "nothing has this")
    assert found.text_content() == "nothing found"


def test_keys_lead_through_it(address: str, visit: Callable[..., Any]) -> None:
    """Slash, arrows, letters, Enter and Escape, without a mouse."""
    page = visit(address).page

    def is_at(name: str) -> None:
        page.locator(f".card:focus[aria-label='{name}']").wait_for()

    page.select_option("#sort", "id")
    page.select_option("#order", "up")
    page.keyboard.press("/")
    page.locator("#words:focus").wait_for()
    page.locator(".card").first.focus()
    for key in ("ArrowRight", "j", "ArrowLeft"):
        page.keyboard.press(key)
    is_at("photo-001")
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] h2").text_content() == "photo-001"
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog[open] h2").text_content() == "photo-002"
    page.keyboard.press("Escape")
    is_at("photo-002")
    page.keyboard.press("n")
    page.locator("#found", has_text="49 to 60").wait_for()
    is_at("photo-048")
    page.keyboard.press("p")
    page.locator("#found", has_text="1 to 48").wait_for()


def test_naughty_texts_are_texts(tmp_path: Path, visit: Callable[..., Any], aside: Callable[..., Any]) -> None:
    """As ids, captions, columns, paths and messages they run nothing and fetch nothing, on cards and in full."""
    output = aside(naughty_dataset, tmp_path / "<img src=x onerror=window.canary=1>")
    watched = visit(Path(write_report(output)).as_uri())
    page = watched.page
    assert page.locator("#found").text_content().startswith(f"{2 * len(NAUGHTY)} found")
    for text in NAUGHTY[:6]:
        page.select_option("#column", text)
        page.fill("#value", text.lower())
        page.select_option("#sort", f"column:{text}")
    page.fill("#value", "")
    page.evaluate("gallery.page = 500; gallery.restart()")
    page.locator(f"#cards > li:nth-child({2 * len(NAUGHTY)})").wait_for()
    names = set(page.evaluate("[...document.querySelectorAll('.card .name')].map((name) => name.textContent)"))
    assert names == {text for one in NAUGHTY for text in (one, f"failed {one}")}
    for number in range(0, 2 * len(NAUGHTY), 5):
        page.evaluate(f"gallery.open({number})")
    page.wait_for_load_state("networkidle")
    watched.check()
