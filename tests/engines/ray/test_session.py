"""What a run takes to its cluster: how many shards, which secrets, and output that is not Ray's."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.jobs import CANARY, make_job

from pipeline.engines.plan import RunPlan, plan_run

session = pytest.importorskip("pipeline.engines.ray.session", reason="ray is not installed", exc_type=ImportError)


def plan(folder: Path) -> RunPlan:
    """Of a small job."""
    return plan_run(make_job(folder, "http://127.0.0.1:1", 1).config(), {"ANTHROPIC_API_KEY": CANARY})


@pytest.mark.parametrize(("cpus", "count"), [(1, 1), (2, 2), (3, 4), (4, 4), (33, 64)])
def test_there_are_as_many_shards_as_cpus_in_powers_of_two(tmp_path: Path, cpus: int, count: int) -> None:
    """So that shards of a larger cluster are parts of those of a smaller one."""
    assert session.shard_count(plan(tmp_path), cpus) == count


def test_a_dataset_is_never_cut_into_fewer_shards_than_before(tmp_path: Path) -> None:
    """A smaller cluster does the same shards, one after the other."""
    given = plan(tmp_path)
    for name in ("3-of-8", "1-of-2", "notes"):
        (tmp_path / "out" / "_state" / "shards" / name).mkdir(parents=True)
    assert session.shard_count(given, 2) == 8
    assert session.shard_count(given, 16) == 16


def test_the_environment_may_ask_for_so_many() -> None:
    """Nothing asks for nothing."""
    assert session.asked_shards("") is None
    assert session.asked_shards("64") == 64


def test_secrets_are_those_of_the_plan_and_an_embedded_endpoint_has_none(tmp_path: Path) -> None:
    """By the names of their variables."""
    given = plan(tmp_path)
    assert session.secrets_for_workers(given) == {"ANTHROPIC_API_KEY": CANARY}
    embedded = given.config.model_copy(update={"api": given.config.api.model_copy(update={"base_url": "embedded"})})
    assert session.secrets_for_workers(replace(given, config=embedded)) == {}


def test_colours_are_taken_out() -> None:
    """A log is plain text."""
    assert session.plain("\x1b[36mray::shard\x1b[39m died") == "ray::shard died"
