"""Two sets of answers side by side."""

from dataclasses import replace
from pathlib import Path

from support.datasets import answered, failed, write_run

from pipeline.records import Usage
from pipeline.store.comparing import common_items, equal_captions, pairs, side_of, sums_of


def test_sums_and_pairs_are_of_what_both_sides_have(tmp_path: Path) -> None:
    """An item that failed on one side is settled on both; one that a side never took up is on neither's bill."""
    one = [answered("a", cost_usd=0.5, usage=Usage(10, 2, 3, 4), latency_ms=100.0), answered("b"), failed("c")]
    write_run(tmp_path, [*one, answered("z")])
    other = [answered("a", caption="another", cost_usd=0.25), replace(failed("b"), cost_usd=0.125), answered("c")]
    write_run(tmp_path, [*other, answered("y")], run_id="run-2", fingerprint="f2")
    left, right = side_of(tmp_path, "f1"), side_of(tmp_path, "f2")
    items = common_items(left, right)
    assert sorted(items) == ["a", "b", "c"]
    sums = sums_of(left, items), sums_of(right, items)
    assert [(one.captioned, one.failed) for one in sums] == [(2, 1), (2, 1)]
    assert (sums[0].input_tokens, sums[0].output_tokens, sums[0].cost_usd, sums[0].latency_ms) == (17, 2, 0.5, 50.0)
    assert sums[1].cost_usd == 0.375
    assert equal_captions(left, right, items) == 0
    assert equal_captions(left, left, items) == 2
    shown = list(pairs(left, right, items))
    assert [mine["item_id"] for mine, _ in shown] == items == [theirs["item_id"] for _, theirs in shown]
    assert [theirs["caption"] for mine, theirs in shown if mine["item_id"] == "a"] == ["another"]


def test_sides_of_two_datasets(tmp_path: Path) -> None:
    """Nothing in common is no fault."""
    write_run(tmp_path / "one", [answered("a")])
    write_run(tmp_path / "two", [answered("b")])
    left, right = side_of(tmp_path / "one", "f1"), side_of(tmp_path / "two", "f1")
    assert common_items(left, right) == []
    assert sums_of(left, []).captioned == 0
    assert list(pairs(left, right, [])) == []
