"""Ids that stand twice, found on disk."""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.manifest.seen import SeenItems
from pipeline.records import ImageRef, Item


def keyed(item_id: str, *images: str, place: str = "m:2") -> tuple[bytes, Item]:
    """An item with the key that it passes under."""
    key = blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return key, Item(item_id, tuple(ImageRef(name) for name in images), place=place)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=20), st.integers(1, 5))
def test_each_id_with_its_images_passes_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int
) -> None:
    """However rows are cut into batches: the first images of an id are its own, every other set fails once."""
    passed = []
    with SeenItems(tmp_path_factory.mktemp("seen")) as seen:
        for start in range(0, len(rows), size):
            passed += seen.passing([keyed(*row) for row in rows[start : start + size]])
        assert seen.duplicates == len(rows) - len(passed)
    assert [(item.item_id, item.images[0].source) for _, item in passed] == list(dict.fromkeys(rows))
    own = dict(reversed(rows))
    for _, item in passed:
        failed = item.problem is not None and item.problem.error_type == "duplicate_id"
        assert failed == (own[item.item_id] != item.images[0].source)


def test_a_second_meaning_of_an_id_names_both_places(tmp_path: Path) -> None:
    """The failure says where the id stands first; the key is unchanged."""
    with SeenItems(tmp_path) as seen:
        seen.passing([keyed("a", "x", place="m.csv:2")])
        [(key, item)] = seen.passing([keyed("a", "y", place="m.csv:9")])
    assert key == keyed("a")[0]
    assert str(item.problem) == 'm.csv:9: id "a" stands for other images already, at m.csv:2'


def test_the_first_places_of_duplicates_are_kept(tmp_path: Path) -> None:
    """A few are enough to find the fault, however many there are."""
    with SeenItems(tmp_path) as seen:
        assert len(seen.passing([keyed("a", "x", place=f"m:{line}") for line in range(2, 102)])) == 1
        assert (seen.duplicates, seen.places) == (99, ["m:3", "m:4", "m:5", "m:6", "m:7"])


def test_places_that_are_no_text_can_be_kept(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is a place too."""
    with SeenItems(tmp_path) as seen:
        assert len(seen.passing([keyed("a", "x", place="\udce9.jpg"), keyed("b\ud800", "x", place="y")])) == 2
        assert len(seen.passing([keyed("a", "z")])) == 1


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    """The file has no name even while it is used, so a killed process leaves none behind."""
    with SeenItems(tmp_path) as seen:
        seen.passing([keyed("a", "x")])
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error_of_the_output(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(OutputError, match="gone: cannot be written: No such file"):
        SeenItems(tmp_path / "gone")


PROGRAM = """
import resource, signal, sys
from pathlib import Path
from pipeline.errors import OutputError
from pipeline.manifest.seen import SeenItems
from pipeline.records import Item

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
seen = SeenItems(Path(sys.argv[1]), in_memory=1000)
try:
    for number in range(100_000):
        seen.passing([(number.to_bytes(16, "big"), Item("a", (), place="p" * 100))])
except OutputError as error:
    print(error)
"""


def test_a_full_disk_is_an_error_of_the_output(tmp_path: Path) -> None:
    """A file that may grow no further stands for the full disk."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.stdout.startswith("the list of ids that have passed cannot be kept: "), done.stderr


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=60),
    st.integers(1, 7),
    st.integers(0, 40),
)
@settings(deadline=None, max_examples=60)
def test_what_is_in_memory_and_what_is_on_disk_is_one_list(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int, in_memory: int
) -> None:
    """Wherever memory ends, the same rows pass, and duplicates are counted and named alike."""

    def passed(most: int) -> tuple[list[tuple[int, str | None]], int, list[str]]:
        found = []
        with SeenItems(tmp_path_factory.mktemp("seen"), most) as seen:
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                keys, digests = [one.encode() * 16 for one, _ in batch], [other.encode() * 16 for _, other in batch]
                places = [f"row {start + at}" for at in range(len(batch))]
                found += [(start + at, first) for at, first in seen.passing_rows(keys, digests, places)]
            return found, seen.duplicates, seen.places

    assert passed(in_memory) == passed(0) == passed(1000)
