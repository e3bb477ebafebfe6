"""What runs in a cluster's processes, as far as it needs no cluster: how a shard's end is told, and what is refused.

`test_cluster.py` has the same code at work on a real one.
"""

import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.jobs import CANARY, make_job
from support.logging_state import logging_kept

pytest.importorskip("ray", reason="ray is not installed (pip install 'pipeline[ray]')")

from pipeline.engines.ray import worker
from pipeline.engines.ray.gathering import LogBuffer
from pipeline.engines.ray.office import Order
from pipeline.engines.selection import Choice
from pipeline.engines.totals import Totals
from pipeline.errors import ConfigError, OutputHeldError, PipelineError, RunStoppedError
from pipeline.records import Usage
from pipeline.store.shards import Shard

KEYS = {"ANTHROPIC_API_KEY": CANARY}
SHARD = Shard(1, 2)


class Call:
    """A call of the office that ends like this before anything is sent to a cluster."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def remote(self) -> Any:
        """Fails."""
        raise self._error


class BrokenOffice:
    """An office whose order cannot be had."""

    def __init__(self, error: Exception) -> None:
        self.order = Call(error)


def order(folder: Path) -> Order:
    """What a driver in a folder entrusts, with a job there."""
    job = make_job(folder / "job", "http://127.0.0.1:9", 2)
    return Order("run", job.config(), KEYS, Choice(), False, str(folder), 1, version("pipeline"))


@pytest.mark.parametrize(
    ("task", "error", "code"),
    [
        (worker.run_shard, ConfigError("no such model"), 2),
        (worker.run_shard, OutputHeldError("held"), 75),
        (worker.survey_shard, ConfigError("no such model"), 2),
        (worker.survey_shard, RunStoppedError("401"), 3),
    ],
)
def test_an_error_of_ours_is_the_end_of_the_shard_with_its_own_code(
    task: Callable[..., Any], error: PipelineError, code: int
) -> None:
    """It is told in its words, so that the driver ends as a run of its own would."""
    assert task(BrokenOffice(error), SHARD) == worker.ShardEnd(None, code, str(error), is_error=True)


@pytest.mark.parametrize("task", [worker.run_shard, worker.survey_shard])
def test_any_other_fault_is_told_with_its_place(task: Callable[..., Any]) -> None:
    """The innermost error of a group, and the line that raised it: Ray would write all of it into files of its own."""
    end = task(BrokenOffice(ExceptionGroup("many", [ExceptionGroup("few", [ValueError("one")])])), SHARD)
    assert (end.totals, end.exit_code, end.is_error, end.wrote) == (None, 1, True, False)
    assert end.reason.startswith("unexpected fault in a worker: ValueError('one') at")
    end = task(BrokenOffice(KeyError("gone")), SHARD)
    assert "KeyError('gone')" in end.reason
    assert Path(__file__).name in end.reason
    assert "\n" not in end.reason


def test_an_end_travels_between_processes() -> None:
    """Counters and all."""
    totals = Totals(total=3, succeeded=2, failed=1, complete=True, usage=Usage(5, 6, 7, 8), cost_usd=0.25)
    totals.failures_by_type["image_missing"] = 1
    end = worker.ShardEnd(totals, 4, "budget reached", wrote=True)
    assert pickle.loads(pickle.dumps(end)) == end


def test_a_plan_is_made_with_the_driver_s_configuration_and_keys(tmp_path: Path) -> None:
    """Not with those of the node's own environment."""
    plan = worker._plan(order(tmp_path))
    assert plan.keys == (CANARY,)
    assert plan.config == order(tmp_path).config


def test_a_node_with_another_version_is_refused(tmp_path: Path) -> None:
    """Both versions are named."""
    with pytest.raises(ConfigError, match=rf"a node has pipeline {version('pipeline')}, the driver 0\.0\.1"):
        worker._plan(replace(order(tmp_path), version="0.0.1"))


def test_a_worker_logs_to_the_driver_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the driver's folder; its lines wait for the next beat, and Ray's own log gets none."""
    monkeypatch.chdir(Path(__file__).parent)
    lines, before, elsewhere = LogBuffer(), Path.cwd(), LogBuffer()
    with logging_kept():
        logging.getLogger().addHandler(elsewhere)
        with worker._at_work(order(tmp_path), lines):
            assert Path.cwd() == tmp_path != before
            logging.getLogger("pipeline.store").info("written", extra={"item_id": "a"})
            logging.getLogger("other").warning("strange")
        logging.getLogger("pipeline.store").warning("after the end")
        found = [(line.logger, line.text, line.extra) for line in lines.fetch()]
        assert found == [("pipeline.store", "written", {"item_id": "a"}), ("other", "strange", {})]
        assert [line.text for line in elsewhere.fetch()] == ["strange"]


def test_a_survey_logs_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it has to say is said again by the run."""
    monkeypatch.chdir(Path(__file__).parent)
    with logging_kept(), worker._at_work(order(tmp_path)):
        logging.getLogger("pipeline.store").error("said twice")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_on_the_node_is_named(tmp_path: Path) -> None:
    """With what to do about it; the process stays where it was."""
    here = Path.cwd()
    gone = replace(order(tmp_path), folder=str(tmp_path / "gone"))
    with (
        logging_kept(),
        pytest.raises(ConfigError, match=r"gone: the working directory is not on every node \(No such"),
        worker._at_work(gone),
    ):
        raise AssertionError("nothing is done elsewhere")
    assert Path.cwd() == here


def test_a_shard_that_is_held_is_waited_for() -> None:
    """A killed driver's workers are about to end; any other error is told at once."""
    attempts = []

    def held_once() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise OutputHeldError("held by another run")
        return "mine"

    assert worker._patiently(held_once) == "mine"
    assert len(attempts) == 2

    def refused() -> None:
        attempts.append(1)
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        worker._patiently(refused)
    assert len(attempts) == 3
