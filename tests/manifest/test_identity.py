"""Ids, and the numbers derived from them."""

from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RowError
from pipeline.manifest.identity import checked_id, hashed_id, in_shard, refs_digest, sample_rank
from pipeline.records import ImageRef

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=40)


def test_the_id_of_one_reference_is_the_start_of_its_sha256() -> None:
    """The id is the first 16 hex digits of the SHA-256 of the reference as written."""
    assert hashed_id([ImageRef("fotos/Zürich 1.jpg")]) == sha256("fotos/Zürich 1.jpg".encode()).hexdigest()[:16]


def test_the_id_of_bytes_is_the_start_of_their_sha256_whatever_they_are_called() -> None:
    """Bytes are hashed as they are, so that images which an export called alike stay apart."""
    first = ImageRef("image.jpg", b"one")
    assert hashed_id([first]) == sha256(b"one").hexdigest()[:16]
    assert hashed_id([ImageRef("image.jpg", b"two")]) != hashed_id([first])


def test_the_order_and_the_number_of_references_change_the_id() -> None:
    """Several references make one id, which tells their order and where one ends."""
    a, b = ImageRef("a"), ImageRef("b")
    assert len({hashed_id(refs) for refs in ([a, b], [b, a], [a], [ImageRef("ab")], [a, b, b])}) == 5


def test_equal_references_have_equal_digests_and_others_have_not() -> None:
    """The digest that finds duplicates tells apart names, bytes, order and where a name ends."""
    lists = [
        [ImageRef("a"), ImageRef("b")],
        [ImageRef("b"), ImageRef("a")],
        [ImageRef("ab")],
        [ImageRef("a", b"x"), ImageRef("b")],
        [ImageRef("a", b"y"), ImageRef("b")],
        [],
    ]
    assert len({refs_digest(refs) for refs in lists}) == len(lists)
    assert refs_digest([ImageRef("a", b"x")]) == refs_digest([ImageRef("a", b"x", column="other")])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        (" a\nb\0c ", " a\nb\0c "),
        (7, "7"),
        (-(2**70), str(-(2**70))),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("é" * 32_768, "é" * 32_768),
    ],
)
def test_hostile_ids_come_through_as_they_are(value: object, expected: str) -> None:
    """A text of up to 64 KiB is taken as it is, a whole number or UUID by its digits."""
    assert checked_id(value, "m.csv:2") == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        ("", "empty"),
        (True, "bool"),
        (1.0, "float"),
        (b"a", "bytes"),
        ([1], "list"),
        ("a\ud800", "surrogate"),
        ("é" * 32_768 + "x", "65537 bytes"),
    ],
)
def test_what_cannot_be_an_id_is_refused_with_its_place(value: object, said: str) -> None:
    """The message names the row and what was found."""
    with pytest.raises(RowError, match=f"m.csv:2: .*{said}"):
        checked_id(value, "m.csv:2")


@settings(deadline=None, max_examples=100)
@given(ANY_TEXT, st.integers(1, 50))
def test_every_item_is_in_exactly_one_shard(item_id: str, of: int) -> None:
    """Shards part the items, whatever characters their ids are made of."""
    assert sum(in_shard(item_id, index, of) for index in range(1, of + 1)) == 1


def test_shards_are_of_about_one_size() -> None:
    """Of 6000 items each of four shards holds a fourth, within five standard deviations."""
    sizes = [sum(in_shard(f"item-{number}", index, 4) for number in range(6000)) for index in range(1, 5)]
    assert all(abs(size - 1500) < 170 for size in sizes), sizes


def test_a_sample_takes_its_share_of_every_shard() -> None:
    """The rank of a sample and the shard are independent, so a sampled shard is not empty or full."""
    names = [f"item-{number}" for number in range(6000)]
    low = [name for name in names if sample_rank(name) < 2**63]
    assert abs(len(low) - 3000) < 200
    assert abs(sum(in_shard(name, 1, 2) for name in low) - 1500) < 200


def test_shards_and_samples_are_the_same_on_every_machine() -> None:
    """The numbers are pinned: with other ones, two versions side by side would both take an item, or neither would."""
    assert [name for name in "abcdefgh" if in_shard(name, 1, 3)] == ["c"]
    assert sample_rank("a") == 10_013_281_413_729_054_522


@pytest.mark.parametrize(("index", "of"), [(0, 3), (4, 3), (-1, 3), (1, 0)])
def test_a_shard_that_is_not_there_is_refused(index: int, of: int) -> None:
    """Shards count from 1 to their number."""
    with pytest.raises(ValueError, match=f"shard {index}/{of}"):
        in_shard("a", index, of)
