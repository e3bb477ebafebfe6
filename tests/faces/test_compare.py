"""The page of two sides. Its looks are in `tests/browser`."""

import html
import json
import re
from pathlib import Path

import pytest
from support.datasets import answered, failed, write_run
from support.naughty import NAUGHTY
from support.pages import naughty_dataset

from pipeline.errors import OutputError
from pipeline.faces.compare import compare_html, write_comparison


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two fingerprints, whose runs say what they were made with."""
    write_run(tmp_path, [answered("a", caption="a red boat", cost_usd=0.5), answered("b"), answered("alone")])
    other = [answered("a", caption="a blue boat", cost_usd=2.0), failed("b", "refusal")]
    write_run(tmp_path, other, run_id="run-2", fingerprint="f2")
    (tmp_path / "runs").mkdir(exist_ok=True)
    for mark, model in (("f1", "small"), ("f2", "large")):
        entry = {"fingerprint": mark, "config": {"api": {"model": model, "max_tokens": 300}, "prompt": {"user": "Say"}}}
        (tmp_path / "runs" / f"z-{mark}.json").write_text(json.dumps(entry))
    return tmp_path


def cells(page: str, name: str) -> list[str]:
    """The two values of a line of a table."""
    found = re.search(rf'<th scope="row">{name}</th><td>(.*?)</td><td>(.*?)</td>', page)
    assert found, name
    return list(found.groups())


def test_sums_settings_and_words(output: Path) -> None:
    """What both have is summed, what differs is shown: money, settings, words."""
    page = compare_html((output, "f1"), (output, "f2"))
    assert cells(page, "captioned") == ["2", "1"]
    assert cells(page, "failed") == ["0", "1"]
    assert cells(page, "cost") == ["$0.5000", "$2.0000"]
    assert cells(page, "cost of 1,000 captions") == ["$250.00", "$2,000.00"]
    assert cells(page, "api.model") == ["small", "large"]
    assert "api.max_tokens" not in page
    assert "left: f1 (small)" in page
    assert "a <del>red</del> boat" in page
    assert "a <ins>blue</ins> boat" in page
    assert "refusal: b went wrong" in page
    assert "2 items on both sides, 1 on the left alone; the sums are of those on both sides." in page
    assert page.count("<article") == 2


def test_two_datasets(output: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each side is named by its folder too; nothing in common makes an empty page."""
    other = tmp_path_factory.mktemp("other") / "large"
    write_run(other, [answered("z")])
    page = compare_html((output, "f1"), (other, "f1"))
    assert "right: large f1" in page
    assert "0 items on both sides" in page
    assert "<article" not in page


def test_naughty_texts_are_escaped(tmp_path: Path) -> None:
    """None makes an element; each is on the page as a text."""
    for mark in ("f1", "f2"):
        naughty_dataset(tmp_path, mark)
    page = compare_html((tmp_path, "f1"), (tmp_path, "f2"))
    assert len(re.findall(r"<script", page)) == 1
    assert not re.search(r"<(img|svg|iframe|form action|base|body on)", page)
    for text in NAUGHTY:
        assert html.escape(text, quote=False).split("'")[0].split('"')[0] in page


def test_it_is_written_whole(output: Path, tmp_path: Path) -> None:
    """To the place that was named; no dataset is refused."""
    place = write_comparison((output, "f1"), (output, "f2"), tmp_path / "page.html")
    assert place.read_text("utf-8") == compare_html((output, "f1"), (output, "f2"))
    with pytest.raises(OutputError):
        write_comparison((tmp_path / "nowhere", "f1"), (output, "f2"), tmp_path / "page.html")
