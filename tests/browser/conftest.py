"""Chromium for tests of pages: every page is watched, and nothing that it asks for leaves this machine."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@dataclass
class Watched:
    """A page, and what happened on it.

    Attributes:
        asked: what it asked for beside `data:` URIs, the page itself included.
        troubles: dialogs, errors and refusals, as texts.
    """

    page: Any
    home: str
    asked: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Nothing ran that is not the page's own, and nothing went elsewhere."""
        assert self.page.evaluate("window.canary") is None
        foreign = [address for address in self.asked if not address.startswith(self.home)]
        assert foreign == []
        assert self.troubles == []

    def violations(self) -> list[str]:
        """What axe finds serious."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
        found = axe.Axe().run(self.page).response["violations"]
        worst = [one for one in found if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}" for one in worst]

    def shot(self, name: str) -> None:
        """Keeps a picture of the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def fits(self) -> bool:
        """Whether it can be read without scrolling sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window. It ends with the module: other tests run event loops of their own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Opens an address and waits for its cards: `visit(address, width=390, scheme="dark")`."""
    with ExitStack() as stack:

        def go(address: str, width: int = 1280, scheme: str = "light", wait: str = ".card, .pair") -> Watched:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            stack.callback(context.close)
            page = context.new_page()
            watched = Watched(page, address.partition("?")[0])
            page.on("dialog", lambda dialog: (watched.troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
            page.on("pageerror", lambda error: watched.troubles.append(f"error {error}"))
            page.on(
                "console", lambda said: _is_trouble(said) and watched.troubles.append(f"{said.text} {said.location}")
            )
            page.on("popup", lambda other: watched.troubles.append(f"popup {other.url}"))

            def passed(route: Any) -> None:
                watched.asked.append(route.request.url)
                if route.request.url.startswith(watched.home):
                    route.continue_()
                else:
                    route.abort()

            page.route(lambda url: not url.startswith("data:"), passed)
            page.goto(address)
            page.wait_for_selector(wait)
            return watched

        yield go


def _is_trouble(said: Any) -> bool:
    """A picture that is not there any more is none."""
    return bool(said.type == "error" and "/picture?" not in said.location.get("url", ""))


@contextmanager
def _worker() -> Iterator[Callable[..., Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *words, **named: pool.submit(function, *words, **named).result()


@pytest.fixture(scope="module")
def aside() -> Iterator[Callable[..., Any]]:
    """Calls a function in a thread, where an event loop may run beside the browser's: `aside(write_run, place)`."""
    with _worker() as call:
        yield call
