"""The site: builds without a warning, and no page of it asks another host for anything."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FETCHING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""What a browser fetches by itself, and the attribute that says from where."""


class Page(HTMLParser):
    """What a page fetches, where its links lead, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag."""
        values = {name: value or "" for name, value in attrs}
        if tag in FETCHING and FETCHING[tag] in values:
            self.fetched.append(values[FETCHING[tag]])
        if tag == "a":
            self.links.append(values.get("href", ""))
        self.anchors.add(values.get("id", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make docs` builds them."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", str(place / "trees")]
    done = subprocess.run([*command, str(DOCS), str(place / "html")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return place / "html"


def test_every_page_is_in_the_site(site: Path) -> None:
    """And reachable from the first one."""
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {path for path in pages if not (site / path).exists()} == set()
    named = {(site / link.partition("#")[0]).resolve() for link in Page(site / "index.html").links}
    assert {str(path) for path in pages if (site / path).resolve() not in named} <= {"index.html"}


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """No font, script, style or picture: a page that is read behind a wall, or from disk, is whole."""
    for path in site.rglob("*.html"):
        assert [source for source in Page(path).fetched if re.match(r"(\w+:)?//", source)] == [], path.name
    for path in site.rglob("*.css"):
        assert re.findall(r"""(?:url\(|@import\s+)["']?(?:\w+:)?//[^)"']*""", path.read_text("utf-8")) == [], path.name


def test_links_and_anchors_are_there(site: Path) -> None:
    """From page to page, headings included."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" in link or not link:
                continue
            place = (path.parent / target).resolve() if target else path
            assert place.exists(), f"{path.name}: {link}"
            assert not anchor or place not in pages or anchor in pages[place].anchors, f"{path.name}: {link}"
