"""Journals of other layouts, brought into the dataset by whoever starts."""

import shutil
from pathlib import Path

import pytest
from support.datasets import answered, caption_all, failed, paid, recovered, with_ledger, write_run

from pipeline.errors import OutputHeldError
from pipeline.store.dataset import open_dataset
from pipeline.store.folding import other_layouts
from pipeline.store.identity import DatasetSettings
from pipeline.store.journal import SettledAs, item_key
from pipeline.store.ledger import Ledger
from pipeline.store.parts import list_parts
from pipeline.store.read import read_results
from pipeline.store.schema import Kind
from pipeline.store.shards import Shard

IDS = [f"item-{number}" for number in range(20)]


def of(shard: Shard | None) -> list[str]:
    """The items of a shard."""
    return [item_id for item_id in IDS if shard is None or shard.holds(item_id)]


def killed(output: Path, shard: Shard | None, *, turn_of: str | None = None) -> None:
    """State as a run leaves it that was killed: its items answered, and nothing of it in a part."""
    kept = output.with_name(f"{output.name}-{shard.mark if shard else 'whole'}")

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [answered(item_id) for item_id in of(shard) if item_id != turn_of])
        if turn_of is not None:
            await ledger.arrive(ledger.depart(turn_of, 1, 1, paid(turn_of).started_at), paid(turn_of))
        shutil.copytree(DatasetSettings(output, shard=shard).state, kept)

    with_ledger(output, body, settings=DatasetSettings(output, shard=shard))
    shutil.rmtree(output)
    shutil.copytree(kept, DatasetSettings(output, shard=shard).state)


def answers(output: Path) -> list[str]:
    """The ids of the answers in the parts."""
    found: list[str] = read_results(output)["item_id"].to_pylist()
    return sorted(found)


@pytest.mark.parametrize("left", [Shard(3, 4), Shard(1, 1), None])
@pytest.mark.parametrize("starter", [Shard(1, 2), Shard(2, 3), None])
def test_whoever_starts_brings_in_what_a_killed_run_left(
    tmp_path: Path, left: Shard | None, starter: Shard | None
) -> None:
    """All its answers stand in parts, once, and those of the starter's items are settled for it."""
    output = tmp_path / "out"
    killed(output, left)
    with open_dataset(DatasetSettings(output, shard=starter)) as journal:
        assert answers(output) == sorted(of(left))
        keys = {item_key(one) for one in of(left) if starter is None or starter.holds(one)}
        assert set(journal.standings([item_key(one) for one in IDS], "f1")) == keys
    assert not list(other_layouts(output, starter))
    with open_dataset(DatasetSettings(output, shard=left)):
        assert answers(output) == sorted(of(left))


def test_a_paid_turn_goes_to_the_run_that_covers_its_item(tmp_path: Path) -> None:
    """A conversation that was cut off under one N goes on under another, and its answer is not paid for again."""
    output, item_id = tmp_path / "out", of(Shard(1, 2))[0]
    killed(output, Shard(1, 2), turn_of=item_id)
    mine, other = (
        next(Shard(at, 3) for at in (1, 2, 3) if Shard(at, 3).holds(item_id) is is_mine) for is_mine in (True, False)
    )
    with open_dataset(DatasetSettings(output, shard=other)) as journal:
        assert journal.items_with_turns("f1") == set()
    with open_dataset(DatasetSettings(output, shard=mine)) as journal:
        (turn,) = journal.paid_turns(item_key(item_id), "f1")
        assert turn.body["item_id"] == item_id
    assert list(other_layouts(output, mine)) == []
    with open_dataset(DatasetSettings(output)) as journal:
        assert len(journal.paid_turns(item_key(item_id), "f1")) == 1


def test_leave_to_pay_again_outlasts_another_n(tmp_path: Path) -> None:
    """Who gave it once is not asked again after cutting the work anew."""
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(1, 2))) as journal:
        journal.give_leave("f2")
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(1, 3))) as journal:
        assert journal.has_leave("f2")


def test_failures_of_other_layouts_stand_too(tmp_path: Path) -> None:
    """An item that failed for good in a run without shards is not tried again by a shard."""
    write_run(tmp_path, [failed(item_id) for item_id in IDS])
    shard = Shard(2, 5)
    with open_dataset(DatasetSettings(tmp_path, shard=shard)) as journal:
        found = journal.standings([item_key(one) for one in IDS], "f1")
        assert {key: one.state for key, one in found.items()} == {item_key(one): SettledAs.FAILED for one in of(shard)}


def test_a_layout_that_runs_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Its journal is a living run's."""
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(1, 2))) as journal:
        with (
            pytest.raises(OutputHeldError, match="shard 1/2 of this output is running"),
            open_dataset(DatasetSettings(tmp_path, shard=Shard(2, 4))),
        ):
            pytest.fail("opened beside a run that shares items")
        with open_dataset(DatasetSettings(tmp_path, shard=Shard(2, 2))):
            pass
        journal.give_leave("f9")
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(2, 4))):
        pass


def test_a_shard_changes_no_part_of_another(tmp_path: Path) -> None:
    """A damaged one is named and stays where it is, for others may be at work; a run without shards sets it aside."""
    write_run(tmp_path, [answered(item_id) for item_id in IDS])
    (part,) = list_parts(tmp_path, Kind.RESULTS)
    part.write_bytes(part.read_bytes()[:-100])
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(1, 2))) as journal:
        assert part.exists()
        assert journal.standings([item_key(one) for one in IDS], "f1") == {}
    with recovered(tmp_path):
        assert not part.exists()


def test_a_temporary_file_of_another_shard_is_left_alone(tmp_path: Path) -> None:
    """It may be half written at the moment; one of its own is a killed run's."""
    (tmp_path / "results").mkdir()
    strays = [tmp_path / "results" / f".tmp-part-run-{index}-of-2-00001.parquet" for index in (1, 2)]
    for stray in strays:
        stray.touch()
    with open_dataset(DatasetSettings(tmp_path, shard=Shard(1, 2))):
        assert [stray.exists() for stray in strays] == [False, True]
    with open_dataset(DatasetSettings(tmp_path)):
        assert [stray.exists() for stray in strays] == [False, False]
