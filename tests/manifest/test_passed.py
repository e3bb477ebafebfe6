"""Keys that have passed, in memory and on disk."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.passed import PassedRows


def hashed(text: str) -> bytes:
    """16 bytes of a text."""
    return blake2b(text.encode(), digest_size=16).digest()


def passed(rows: PassedRows, batch: list[tuple[str, str]], *, told: bool) -> dict[int, bool | str]:
    """What a batch of ids and images has that passed before."""
    keys, digests = [hashed(one) for one, _ in batch], [hashed(image) for _, image in batch]
    places = [f"row of {one} with {image}" for one, image in batch]
    return dict(rows.add_all(keys, digests, places, [one for one, _ in batch] if told else None))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where files without names are made; none is left in it."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@given(
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 40).map("{:03}".format), st.sampled_from("xyz")), max_size=60),
    st.integers(1, 20),
    st.sampled_from([1, 7, 1000]),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_each_id_and_its_images_pass_once(  # noqa: PLR0917 - drawn
    tmp_path_factory: pytest.TempPathFactory,
    ascending: int,
    rows: list[tuple[str, str]],
    size: int,
    fresh: int,
    told: bool,
) -> None:
    """Ascending or not, in memory or on disk, batch by batch: as a plain dictionary has it."""
    rows = [(f"{number:03}", "x") for number in range(ascending)] + rows
    firsts: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    table = PassedRows(tmp_path_factory.mktemp("passed"), fresh)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        expected: dict[int, bool | str] = {}
        for at, (one, image) in enumerate(batch):
            first = firsts.setdefault(one, image)
            if (one, image) in seen:
                expected[at] = True
            elif first != image:
                expected[at] = f"row of {one} with {first}"
            seen.add((one, image))
        assert passed(table, batch, told=told) == expected
    table.close()


def test_many_rows_grow_the_table(folder: Path) -> None:
    """Every row is found again after the table has been made anew several times."""
    ids = [f"id {number * 7919 % 100_003}" for number in range(100_003)]
    table = PassedRows(folder, 5000)
    for start in range(0, len(ids), 1000):
        assert passed(table, [(one, "x") for one in ids[start : start + 1000]], told=True) == {}
    again = passed(table, [(one, "x") for one in ids[::977]], told=True)
    assert set(again.values()) == {True}
    assert len(again) == len(ids[::977])
    table.close()


def test_keys_that_share_eight_bytes_are_told_apart(folder: Path) -> None:
    """A bucket that is full goes on in the next, and the record decides."""
    keys = [bytes([number]) * 8 + b"the same" for number in range(40)]
    table = PassedRows(folder, 3)
    for key in keys:
        assert dict(table.add_all([key], [b"d" * 16], ["p"])) == {}
    assert dict(table.add_all(keys, [b"d" * 16] * 40, ["p"] * 40)) == dict.fromkeys(range(40), True)
    table.close()


def test_of_a_long_place_the_end_is_kept(folder: Path) -> None:
    """The number of the row stands there."""
    table = PassedRows(folder, 10)
    key = hashed("a")
    assert dict(table.add_all([key], [b"1" * 16], ["x" * 100 + "ö:12345"])) == {}
    (found,) = dict(table.add_all([key], [b"2" * 16], ["y"])).values()
    assert str(found).endswith("xö:12345")
    table.close()
