"""`pipeline view` and `pipeline compare` as commands."""

from pathlib import Path

import pytest
from support.datasets import answered, write_run
from support.jobs import run_pipeline
from support.viewing import viewing


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A dataset with three fingerprints."""
    for number, mark in enumerate(("aa11", "aa22", "bb33")):
        write_run(tmp_path / "out", [answered("a", caption=mark)], run_id=f"run-{number}", fingerprint=mark)
    return tmp_path / "out"


def test_fingerprints_are_known_by_their_beginnings(output: Path) -> None:
    """The page stands in the dataset, unless a place is named."""
    done = run_pipeline("compare", output, "--fingerprints", "aa1", "b")
    assert done.returncode == 0, done.stderr
    page = (output / "compare.html").read_text()
    assert str(output / "compare.html") in done.stdout
    assert "<del>aa11</del>" in page
    assert "<ins>bb33</ins>" in page
    elsewhere = output.parent / "page.html"
    assert run_pipeline("compare", output, output, "-o", elsewhere).returncode == 0
    assert "1 caption is the same on both" in elsewhere.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fingerprints", "aa", "bb33"], ["aa", "several", "bb33, aa22, aa11"]),
        (["--fingerprints", "zz", "bb33"], ["zz", "bb33"]),
        (["--fingerprints", "", "bb33"], ['""']),
        ([], ["--fingerprints", "3", "aa22"]),
        (["nowhere"], ["nowhere"]),
    ],
)
def test_what_is_not_there_is_said_with_what_is(output: Path, words: list[str], said: list[str]) -> None:
    """Exit 2, the text that was found, and the fingerprints that there are."""
    done = run_pipeline("compare", output, *words)
    assert done.returncode == 2
    assert all(text in done.stderr for text in said), done.stderr
    assert "Traceback" not in done.stderr
    assert not (output / "compare.html").exists()


def test_one_fingerprint_is_viewed_where_it_is_named(output: Path) -> None:
    """Else the newest; one that is not there is refused."""
    with viewing(output) as viewer:
        assert viewer.items()["rows"][0]["caption"] == "bb33"
    with viewing(output, "--fingerprint", "aa2") as viewer:
        assert viewer.items()["rows"][0]["caption"] == "aa22"
    done = run_pipeline("view", output, "--fingerprint", "zz")
    assert done.returncode == 2
    assert "aa11" in done.stderr


def test_an_address_that_is_none_is_said(output: Path) -> None:
    """Exit 2, one line."""
    done = run_pipeline("view", output, "--host", "nobody.invalid")
    assert done.returncode == 2
    assert "--host nobody.invalid" in done.stderr
    assert "Traceback" not in done.stderr
