"""The comparison in a browser, from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.naughty import NAUGHTY
from support.pages import gallery_dataset, naughty_dataset

from pipeline.faces.compare import write_comparison

LOOKS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, aside: Callable[..., Any]) -> str:
    """Sixty items under two fingerprints."""
    output = aside(gallery_dataset, tmp_path_factory.mktemp("compare") / "photos", fingerprints=("f1", "f2"))
    return Path(write_comparison((output, "f1"), (output, "f2"), output / "compare.html")).as_uri()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_can_be_read_in_every_look(address: str, visit: Callable[..., Any], width: int, scheme: str) -> None:
    """Wide and narrow, light and dark: nothing serious for axe, no scrolling sideways."""
    watched = visit(address, width, scheme)
    watched.shot(f"compare-{width}-{scheme}")
    assert watched.violations() == []
    assert watched.fits()
    watched.page.locator("#pairs").scroll_into_view_if_needed()
    watched.page.evaluate("scrollTo(0, document.getElementById('pairs').offsetTop)")
    watched.shot(f"compare-pairs-{width}-{scheme}")
    watched.check()


def test_pairs_are_searched_and_walked(address: str, visit: Callable[..., Any]) -> None:
    """Words, differences, and arrow keys."""
    page = visit(address).page
    assert page.locator("#found").text_content() == "60 shown"
    page.select_option("#which", "same")
    assert page.locator("#found").text_content() == "5 shown"
    page.select_option("#which", "differ")
    page.fill("#words", "photo-004")
    assert page.locator(".pair:visible del").all_text_contents() == ["near"]
    assert page.locator(".pair:visible ins").all_text_contents() == ["afar"]
    page.fill("#words", "")
    first, second = page.locator(".pair:visible").nth(0), page.locator(".pair:visible").nth(1)
    first.focus()
    page.keyboard.press("ArrowDown")
    page.locator(f".pair:focus[aria-label='{second.get_attribute('aria-label')}']").wait_for()


def test_naughty_texts_are_texts(tmp_path: Path, visit: Callable[..., Any], aside: Callable[..., Any]) -> None:
    """On either side they run nothing and fetch nothing."""
    for mark in ("f1", "f2"):
        aside(naughty_dataset, tmp_path / "out", mark)
    place = write_comparison((tmp_path / "out", "f1"), (tmp_path / "out", "f2"), tmp_path / "compare.html")
    watched = visit(place.as_uri())
    captions = watched.page.evaluate("[...document.querySelectorAll('.caption')].map((one) => one.textContent)")
    assert len(captions) == 2 * len(NAUGHTY)
    assert {text.replace("\r\n", "\n") for text in NAUGHTY} == set(captions)
    watched.page.wait_for_load_state("networkidle")
    watched.check()
