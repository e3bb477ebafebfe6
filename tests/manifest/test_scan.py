"""Folders and globs: which files are taken, and in which order."""

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import write

from pipeline.manifest.scan import glob_root, is_glob, scan_folder, scan_glob
from pipeline.manifest.texts import BadRow

NAMES = st.text(st.sampled_from("ab.*"), min_size=1, max_size=3).filter(lambda name: set(name) != {"."})


def tree(root: Path, *paths: str) -> Path:
    """Files with these paths below a folder."""
    for path in paths:
        write(root / path, b"x")
    return root


def folder(root: Path) -> list[str]:
    """The references of a folder."""
    return [row for _, row in scan_folder(root) if isinstance(row, str)]


def glob(pattern: Path | str) -> list[str]:
    """The references of a glob."""
    return [row for _, row in scan_glob(str(pattern)) if isinstance(row, str)]


def test_a_folder_gives_its_images_by_suffix_in_order(tmp_path: Path) -> None:
    """Files of a folder come before those of its folders, each sorted; suffixes are taken in upper case too."""
    tree(
        tmp_path, "b.JPG", "a.png", "notes.txt", "z/1.webp", "c/2.Tiff", "c/d/3.gif", "c/1.jpeg", "noext", "x.jpg.part"
    )
    assert folder(tmp_path) == ["a.png", "b.JPG", "c/1.jpeg", "c/2.Tiff", "c/d/3.gif", "z/1.webp"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    """Neither previews of file managers nor version control are images of the user."""
    tree(tmp_path, "a.jpg", "._a.jpg", ".thumbs/b.jpg", "c/.d/e.jpg")
    assert folder(tmp_path) == ["a.jpg"]
    assert glob(tmp_path / "**/*.jpg") == ["a.jpg"]


def test_hidden_files_are_taken_where_the_pattern_spells_the_dot(tmp_path: Path) -> None:
    """As in a shell."""
    tree(tmp_path, ".a.jpg", "b.jpg", ".c/d.jpg", "x/.c/e.jpg")
    assert glob(tmp_path / ".*.jpg") == [".a.jpg"]
    assert glob(tmp_path / ".c" / "*.jpg") == ["d.jpg"]
    assert glob(tmp_path / "**/.c/*.jpg") == [".c/d.jpg", "x/.c/e.jpg"]


def test_links_to_folders_are_named_and_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A loop ends, and nobody wonders in silence where images stayed; a link to a file is a file."""
    tree(tmp_path, "in/a.jpg")
    (tmp_path / "in/loop").symlink_to(tmp_path)
    (tmp_path / "in/self").symlink_to("self")
    (tmp_path / "in/b.jpg").symlink_to("a.jpg")
    (tmp_path / "in/gone.jpg").symlink_to("nowhere.jpg")
    with caplog.at_level(logging.WARNING):
        assert folder(tmp_path / "in") == ["a.jpg", "b.jpg", "gone.jpg"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/in/loop: a link to a folder, not followed"
    ]


def test_special_files_are_left_to_the_image_stage(tmp_path: Path) -> None:
    """A named pipe with an image's name is named as a failure later, not dropped here, and not opened."""
    os.mkfifo(tmp_path / "pipe.jpg")
    assert folder(tmp_path) == ["pipe.jpg"]


def test_names_that_are_not_utf8_can_be_opened(tmp_path: Path) -> None:
    """The reference leads back to the very file."""
    write(tmp_path / os.fsdecode(b"\xe9.jpg"), b"here")
    [name] = folder(tmp_path)
    assert (tmp_path / name).read_bytes() == b"here"


def test_a_folder_that_cannot_be_listed_is_a_bad_row(tmp_path: Path) -> None:
    """A path that is too long for the system stands for every folder that cannot be read; the others go on."""
    tree(tmp_path, "a/ok.jpg", "z/ok.jpg")
    deep = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    rows = list(scan_folder(tmp_path))
    assert [row for _, row in rows if isinstance(row, str)] == ["a/ok.jpg", "z/ok.jpg"]
    [(place, bad)] = [(place, row) for place, row in rows if isinstance(row, BadRow)]
    assert place.startswith("a/ddd")
    assert bad.reason == "the folder cannot be listed: File name too long"


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """A picture under 1200 folders; taken away by rm, since the standard library would recurse."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True, timeout=30)


def test_a_thousand_nested_folders_are_walked(deep_folder: Path) -> None:
    """Depth costs no recursion."""
    assert folder(deep_folder) == ["d/" * 1200 + "x.jpg"]
    assert glob(deep_folder / "**/**/*.jpg") == ["d/" * 1200 + "x.jpg"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*", ["B.PNG", "a.jpg"]),
        ("*/*.jpg", ["x/c.jpg", "y/c.jpg"]),
        ("**/*.jpg", ["a.jpg", "x/c.jpg", "x/z/c.jpg", "y/c.jpg"]),
        ("x/**/*.jpg", ["c.jpg", "z/c.jpg"]),
        ("**/z/**/c.*", ["x/z/c.jpg"]),
        ("**", ["B.PNG", "a.jpg", "x/c.jpg", "x/z/c.jpg", "y/c.jpg"]),
        ("[xy]/?.jpg", ["x/c.jpg", "y/c.jpg"]),
        ("[!x]/*", ["y/c.jpg"]),
        ("*.dat", ["raw.dat"]),
        ("*.d*", []),
        ("nowhere/*.jpg", []),
        ("*.gif", []),
    ],
)
def test_patterns_match_as_in_a_shell(tmp_path: Path, pattern: str, found: list[str]) -> None:
    """Paths start at the pattern's fixed folder; other suffixes than an image's must be spelt out."""
    tree(tmp_path, "a.jpg", "B.PNG", "raw.dat", "x/c.jpg", "x/z/c.jpg", "y/c.jpg")
    assert glob(tmp_path / pattern) == (found or [])


@settings(deadline=None, max_examples=80)
@given(
    st.lists(NAMES, min_size=1, max_size=3), st.lists(st.sampled_from(["*", "**", "a*", "?", "ab", "*b*"]), max_size=3)
)
def test_matches_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], parts: list[str]
) -> None:
    """For files without dots, with a suffix that the pattern spells out, both agree, and no file comes twice."""
    root = tmp_path_factory.mktemp("glob")
    for depth in range(len(names)):
        path = root.joinpath(*(name.replace(".", "b").replace("*", "a") + "d" for name in names[:depth]))
        write(path / f"{names[depth].replace('.', 'b').replace('*', 'ab')}.jpg", b"")
    pattern = "/".join([*parts, "*.jpg"])
    expected = {path.relative_to(glob_root(f"{root}/{pattern}")).as_posix() for path in root.glob(pattern)}
    assert sorted(glob(f"{root}/{pattern}")) == sorted(expected)


def test_a_pattern_is_told_by_its_characters_and_has_a_fixed_folder() -> None:
    """The root is what stands before the first wildcard; a path without one is a pattern for itself."""
    assert [is_glob(path) for path in ("a/*.jpg", "a?", "[ab]", "a/b.jpg")] == [True, True, True, False]
    assert glob_root("a/b*/c/*.jpg") == Path("a")
    assert glob_root("*.jpg") == Path()
    assert glob_root("/x/y/**") == Path("/x/y")
    assert glob_root("a/b.jpg") == Path("a")
