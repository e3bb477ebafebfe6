"""What a run came to."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import make_job

from pipeline.engines.control import Stop
from pipeline.engines.summary import allowed_failures, summarise
from pipeline.engines.totals import Totals
from pipeline.settings import Config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration with the default of no failures."""
    return make_job(tmp_path_factory.mktemp("job"), "embedded", images=1).config()


def exit_code(config: Config, totals: Totals, stop: Stop | None = None) -> int:
    """The exit code of such a run."""
    return summarise(config, totals, stop, 1.0, name=("run", "print")).exit_code


def test_all_settled_and_none_failed_is_0(config: Config) -> None:
    """The plain good end."""
    assert exit_code(config, Totals(total=3, succeeded=2, skipped=1, complete=True)) == 0


def test_more_failures_than_allowed_is_1(config: Config) -> None:
    """One failed where none may."""
    assert exit_code(config, Totals(total=3, succeeded=2, failed=1, complete=True)) == 1


def test_unmended_failures_of_earlier_runs_count(config: Config) -> None:
    """A run that skips what failed before does not turn it into a success."""
    assert exit_code(config, Totals(total=3, skipped=3, unmended=1, complete=True)) == 1


def test_the_reason_to_end_is_the_exit_code(config: Config) -> None:
    """A stop decides, whatever failed."""
    assert exit_code(config, Totals(total=9, failed=9), Stop(3, "key refused")) == 3


def test_a_deadline_after_the_last_item_stops_nothing(config: Config) -> None:
    """Everything was settled when the time was up, so the run came to its end."""
    assert exit_code(config, Totals(total=2, succeeded=2, complete=True), Stop(4, "--max-runtime")) == 0
    assert exit_code(config, Totals(total=2, succeeded=1, complete=True), Stop(4, "--max-runtime")) == 4
    assert exit_code(config, Totals(total=2, succeeded=2, complete=False), Stop(4, "--max-runtime")) == 4


@pytest.mark.parametrize(
    ("setting", "items", "allowed"), [(0, 100, 0), (7, 3, 7), ("1%", 300, 3), ("0.5%", 1000, 5), ("100%", 8, 8)]
)
def test_failures_are_allowed_by_number_or_share(setting: int | str, items: int, allowed: int) -> None:
    """A number is a number; a share is of the manifest's items."""
    assert allowed_failures(setting, items) == allowed


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5))
def test_each_item_is_in_exactly_one_count(config: Config, counts: list[int]) -> None:
    """The five counts add up to the total."""
    succeeded, reused, failed, skipped, waiting = counts
    totals = Totals(total=sum(counts), succeeded=succeeded, reused=reused, failed=failed, skipped=skipped)
    items = summarise(config, totals, None, 1.0, name=("run", "print")).items
    assert items["pending"] == waiting
    assert sum(items.values()) == 2 * items["total"]


def test_the_object_of_json_has_what_the_contract_names(config: Config, tmp_path: Path) -> None:
    """Scripts find every key, and it survives JSON."""
    summary = summarise(config, Totals(), None, 2.0, name=("run", "print")).as_dict()
    assert json.loads(json.dumps(summary)) == summary
    names = {"run_id", "items", "requests", "usage", "cost_usd", "seconds", "images_per_second", "output", "exit_code"}
    assert names | {"failures_by_type"} <= summary.keys()
    assert set(summary["items"]) == {"total", "succeeded", "failed", "skipped", "reused", "pending"}
    assert set(summary["requests"]) == {"sent", "succeeded", "retried", "rate_limited"}
    assert len(summary["usage"]) == 4
