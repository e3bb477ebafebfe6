"""`pipeline view` in a browser: what comes is shown, and what is decided is kept."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.datasets import answered, write_run
from support.naughty import NAUGHTY
from support.pages import gallery_dataset, naughty_dataset
from support.viewing import viewing

from pipeline.store.reviews import newest_reviews

LOOKS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, aside: Callable[..., Any]) -> Path:
    """Sixty items."""
    place: Path = aside(gallery_dataset, tmp_path_factory.mktemp("view") / "photos")
    return place


@pytest.fixture(scope="module")
def address(output: Path) -> Iterator[str]:
    """Where they are served."""
    with viewing(output, "--reviewer", "ada") as viewer:
        yield viewer.address


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_can_be_read_in_every_look(address: str, visit: Callable[..., Any], width: int, scheme: str) -> None:
    """Wide and narrow, light and dark: nothing serious for axe, no scrolling sideways."""
    watched = visit(address, width, scheme)
    watched.shot(f"view-{width}-{scheme}")
    assert watched.violations() == []
    assert watched.fits()
    watched.page.locator(".acts button", has_text="Edit").first.click()
    watched.page.locator("dialog[open] textarea").wait_for()
    watched.shot(f"view-edit-{width}-{scheme}")
    assert watched.violations() == []
    watched.check()


def test_reviews_by_keys_and_buttons(output: Path, address: str, visit: Callable[..., Any]) -> None:
    """Accept, reject, edit and take back; each is in the dataset once the page shows it."""
    watched = visit(address)
    page = watched.page
    page.select_option("#sort", "id")
    page.select_option("#order", "up")
    page.locator("#cards > li:first-child", has_text="photo-000").wait_for()

    def verdict(at: int) -> Any:
        return page.locator("#cards > li").nth(at).locator(".verdict")

    page.locator(".card").first.focus()
    page.keyboard.press("a")
    assert "accepted by ada" in verdict(0).text_content()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    assert "rejected by ada" in verdict(1).text_content()
    page.locator("#reviewer").fill("grace")
    page.locator("#cards > li").nth(2).get_by_role("button", name="Edit").click()
    page.locator("dialog textarea").fill("A better caption <b>\nin two lines")
    page.keyboard.press("Control+Enter")
    page.locator("dialog .verdict.edited").wait_for()
    page.keyboard.press("Escape")
    assert "edited by grace" in verdict(2).text_content()
    assert page.locator("#cards > li").nth(2).locator(".caption").text_content() == "A better caption <b>\nin two lines"
    page.locator("#cards > li").nth(1).get_by_role("button", name="Take back").click()
    verdict(1).wait_for(state="detached")
    found = {key[0]: (one.verdict.value, one.reviewer) for key, one in newest_reviews(output).items()}
    assert found == {"photo-000": ("accepted", "ada"), "photo-002": ("edited", "grace")}
    page.select_option("#verdict", "edited")
    page.locator("#found", has_text="1 found").wait_for()
    page.reload()
    page.select_option("#verdict", "accepted")
    page.locator("#cards > li:only-child .verdict.accepted", has_text="accepted by ada").wait_for()
    watched.check()


def test_new_items_appear_by_themselves(tmp_path: Path, visit: Callable[..., Any], aside: Callable[..., Any]) -> None:
    """What a run writes meanwhile is shown without a reload, and the focus stays where it was."""
    aside(write_run, tmp_path / "out", [answered("first")])
    with viewing(tmp_path / "out") as viewer:
        watched = visit(viewer.address)
        watched.page.locator(".card").focus()
        aside(write_run, tmp_path / "out", [answered("second")], run_id="run-2")
        watched.page.locator(".card .name", has_text="second").wait_for()
        watched.page.locator(".card:focus[aria-label='first']").wait_for()
        assert "2" in watched.page.locator("#facts").text_content()
        watched.check()


def test_a_server_that_is_gone_is_said(tmp_path: Path, visit: Callable[..., Any], aside: Callable[..., Any]) -> None:
    """The page tells what to do."""
    aside(write_run, tmp_path / "out", [answered("first")])
    with viewing(tmp_path / "out") as viewer:
        page = visit(viewer.address).page
    page.locator("#trouble", has_text="start it again").wait_for()


def test_naughty_texts_are_texts(tmp_path: Path, visit: Callable[..., Any], aside: Callable[..., Any]) -> None:
    """As ids, captions, columns, paths, messages and names of reviewers they run nothing and fetch nothing."""
    output = aside(naughty_dataset, tmp_path / "out")
    with viewing(output, "--reviewer", NAUGHTY[4]) as viewer:
        watched = visit(viewer.address)
        page = watched.page
        page.evaluate("gallery.page = 200; gallery.restart()")
        page.locator(f"#cards > li:nth-child({2 * len(NAUGHTY)})").wait_for()
        names = set(page.evaluate("[...document.querySelectorAll('.card .name')].map((name) => name.textContent)"))
        assert names == {text for one in NAUGHTY for text in (one, f"failed {one}")}
        page.select_option("#kind", "captioned")
        page.locator("#found", has_text=f"{len(NAUGHTY)} found").wait_for()
        page.evaluate("Promise.all([0, 1, 2].map((at) => decide(gallery.rows[at], at, 'edited', '{}')))")
        assert page.locator(".verdict.edited").count() == 3
        for number in range(0, len(NAUGHTY), 9):
            page.evaluate(f"gallery.open({number})")
        page.wait_for_load_state("networkidle")
        watched.check()
