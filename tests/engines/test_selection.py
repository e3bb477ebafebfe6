"""Which items a run takes up."""

import logging
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, failed, journal_path, write_run
from support.manifests import write

from pipeline.engines.selection import Choice, Part, Selection, _nth_smallest, chosen, chosen_part
from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError, ManifestError
from pipeline.manifest.producer import ManifestSettings, open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.store.journal import Journal, item_key


def manifest(path: Path, ids: Sequence[str], images: Sequence[str] = ()) -> ManifestSettings:
    """A csv manifest with these ids."""
    names = images or [f"{name}.jpg" for name in ids]
    rows = "".join(f"{name},{image}\n" for name, image in zip(ids, names, strict=True))
    return ManifestSettings(str(write(path, f"id,image\n{rows}")))


def taken(settings: ManifestSettings, choice: Choice, scratch: Path) -> list[str]:
    """The ids of the chosen part, in order."""
    part = chosen_part(settings, choice)
    with open_manifest(settings) as opened, SeenItems(scratch) as seen:
        return [item.item_id for batch in chosen(opened, seen, part) for _, item in batch]


@contextmanager
def index(output: Path) -> Iterator[Journal]:
    """The journal of a dataset as a run's selection reads it."""
    journal = Journal(journal_path(output), read_only=True)
    try:
        yield journal
    finally:
        journal.close()


def wanted(settings: ManifestSettings, output: Path, choice: Choice, print_: str = "f1") -> tuple[list[str], Totals]:
    """What is to be done of a manifest over a dataset, and the counts."""
    totals = Totals()
    part = chosen_part(settings, choice)
    with index(output) as journal, open_manifest(settings) as opened, SeenItems(output) as seen:
        selection = Selection(journal, print_, choice, totals)
        return [item.item_id for batch in selection.batches(opened, seen, part) for _, item in batch], totals


def test_without_a_choice_everything_is_taken_in_order(tmp_path: Path) -> None:
    """The keys are those that items are settled under."""
    settings = manifest(tmp_path / "m.csv", ["b", "a", "c"])
    assert taken(settings, Choice(), tmp_path) == ["b", "a", "c"]
    with open_manifest(settings) as opened, SeenItems(tmp_path) as seen:
        assert [key for batch in chosen(opened, seen, Part()) for key, _ in batch] == [item_key(name) for name in "bac"]


@given(st.integers(1, 40), st.integers(1, 50), st.randoms())
@settings(deadline=None, max_examples=20)
def test_a_sample_has_so_many_distinct_items_and_knows_no_order(
    tmp_path_factory: pytest.TempPathFactory, size: int, count: int, chance: random.Random
) -> None:
    """Rows that are reordered or stand twice change nothing about which items are drawn."""
    folder = tmp_path_factory.mktemp("sample")
    ids = [f"item-{number}" for number in range(count)]
    first = taken(manifest(folder / "a.csv", ids), Choice(sample=size), folder)
    assert len(first) == len(set(first)) == min(size, count)
    shuffled = [*ids, *chance.sample(ids, count // 2)]
    chance.shuffle(shuffled)
    second = taken(manifest(folder / "b.csv", shuffled), Choice(sample=size), folder)
    assert len(second) == len(set(second))
    assert set(second) == set(first)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 12))
@settings(deadline=None)
def test_the_largest_rank_of_a_sample_is_that_of_a_sorted_list(ranks: list[int], size: int) -> None:
    """Equal ranks are one item."""
    distinct = sorted(set(ranks))
    assert _nth_smallest(iter(ranks), size) == (distinct[size - 1] if len(distinct) >= size else None)


def test_drawing_a_sample_takes_the_memory_of_the_sample() -> None:
    """Ten of a hundred thousand, in the worst order: each one would be kept at first."""
    tracemalloc.start()
    try:
        assert _nth_smallest((rank << 40 for rank in range(100_000, 0, -1)), 10) == 10 << 40
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_shards_are_a_partition_and_limit_counts_within_them(tmp_path: Path) -> None:
    """Each item is in exactly one shard; `--limit` takes the first of what is left."""
    ids = [f"item-{number}" for number in range(60)]
    settings = manifest(tmp_path / "m.csv", ids)
    shards = [taken(settings, Choice(shard=(number, 3)), tmp_path) for number in (1, 2, 3)]
    assert sorted(name for shard in shards for name in shard) == sorted(ids)
    assert all(shards)
    assert taken(settings, Choice(shard=(2, 3), limit=4), tmp_path) == shards[1][:4]
    sampled = taken(settings, Choice(shard=(2, 3), sample=5), tmp_path)
    assert len(sampled) == 5
    assert set(sampled) <= set(shards[1])


def test_a_limit_counts_items_and_not_rows(tmp_path: Path) -> None:
    """Rows that stand twice are one item; nothing is read beyond what is needed."""
    settings = manifest(tmp_path / "m.csv", ["a", "a", "b", "c"])
    assert taken(settings, Choice(limit=2), tmp_path) == ["a", "b"]
    assert taken(settings, Choice(limit=99), tmp_path) == ["a", "b", "c"]
    ids = [f"item-{number}" for number in range(2500)]
    twice = manifest(tmp_path / "twice.csv", [name for name in ids for _ in range(2)])
    assert taken(twice, Choice(limit=2400), tmp_path) == ids[:2400]


def test_the_same_id_with_other_images_has_a_key_of_its_own(tmp_path: Path) -> None:
    """Its failure must not settle the item whose id it took."""
    settings = manifest(tmp_path / "m.csv", ["a", "a"], ["one.jpg", "two.jpg"])
    with open_manifest(settings) as opened, SeenItems(tmp_path) as seen:
        (first, item), (second, double) = [keyed for batch in chosen(opened, seen, Part()) for keyed in batch]
    assert (item.item_id, double.item_id) == ("a", "a")
    assert first == item_key("a") != second
    assert double.problem is not None
    assert double.problem.error_type == "duplicate_id"


def test_a_sample_of_standard_input_is_refused(tmp_path: Path) -> None:
    """It cannot be read twice."""
    with pytest.raises(ConfigError, match="--sample"):
        chosen_part(ManifestSettings("-"), Choice(sample=3))
    assert chosen_part(ManifestSettings("-"), Choice(limit=3)) == Part(limit=3)


def test_a_manifest_that_cannot_be_sampled_says_why(tmp_path: Path) -> None:
    """Drawing reads it whole, so damage is found."""
    with pytest.raises(ManifestError):
        chosen_part(ManifestSettings(str(tmp_path / "none.csv")), Choice(sample=3))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A dataset with an item of each standing."""
    place = tmp_path / "out"
    write_run(
        place,
        [answered("good"), failed("bad"), failed("late", "timeout", retryable=True), failed("odd", "refusal")],
    )
    return place


IDS = ["good", "bad", "late", "odd", "new"]


@pytest.mark.parametrize(
    ("choice", "again", "unmended"),
    [
        (Choice(), ["late", "new"], 2),
        (Choice(retry_failed=True), ["bad", "late", "odd", "new"], 0),
        (Choice(retry_failed=True, only="refusal"), ["late", "odd", "new"], 1),
        (Choice(limit=2), [], 1),
    ],
)
def test_what_is_settled_is_skipped_and_counted(
    tmp_path: Path, output: Path, choice: Choice, again: list[str], unmended: int
) -> None:
    """Successes always; failures for good unless asked for; passing ones are taken up by themselves."""
    found, totals = wanted(manifest(tmp_path / "m.csv", IDS), output, choice)
    assert found == again
    size = choice.limit or len(IDS)
    assert (totals.total, totals.skipped, totals.unmended) == (size, size - len(again), unmended)
    assert totals.complete
    assert totals.pending == len(again)


def test_under_another_fingerprint_nothing_is_settled(tmp_path: Path, output: Path) -> None:
    """A changed prompt makes every item another question."""
    found, totals = wanted(manifest(tmp_path / "m.csv", IDS), output, Choice(), "f2")
    assert found == IDS
    assert (totals.skipped, totals.unmended) == (0, 0)


def test_rows_that_stand_twice_are_told_with_their_places(
    tmp_path: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for all of them."""
    with caplog.at_level(logging.WARNING, "pipeline"):
        _, totals = wanted(manifest(tmp_path / "m.csv", ["x", "x", "y", "x"]), output, Choice())
    assert totals.total == 2
    assert [record.getMessage() for record in caplog.records] == [
        "2 rows stand twice in the manifest and count once: m.csv:3, m.csv:5"
    ]


def test_the_total_is_not_final_before_the_last_batch(tmp_path: Path, output: Path) -> None:
    """`complete` tells views and the summary that the count is exact."""
    settings = manifest(tmp_path / "m.csv", [f"item-{number}" for number in range(3000)])
    totals = Totals()
    with index(output) as journal, open_manifest(settings) as opened, SeenItems(output) as seen:
        batches = Selection(journal, "f1", Choice(), totals).batches(opened, seen, Part())
        next(batches)
        assert 0 < totals.total < 3000
        assert not totals.complete
        assert sum(1 for _ in batches) > 0
    assert (totals.total, totals.complete) == (3000, True)
