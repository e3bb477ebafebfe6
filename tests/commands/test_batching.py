"""`pipeline batches`: what is said of what is in flight, to people and to programs."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from support.batch_runs import Bench, standing
from support.jobs import CANARY, run_pipeline
from support.logging_state import logging_kept

from pipeline.commands.batching import batches_command
from pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The key in its variable, and logging as in a fresh process."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    with logging_kept():
        yield


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Bench]:
    """A batch of three items that does not go on by itself."""
    with standing(tmp_path, 4, batch_hold=True) as bench:
        assert bench.run(wait=False).exit_code == 4
        yield bench


def said(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    verb: Literal["list", "cancel"] = "list",
    *overrides: str,
) -> str:
    """What the command says to people."""
    capsys.readouterr()
    assert batches_command(str(bench.job.config_path), overrides, verb, as_json=False) == 0
    return capsys.readouterr().out


def told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What it tells programs."""
    capsys.readouterr()
    assert batches_command(str(bench.job.config_path), (), "list", as_json=True) == 0
    batches: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["batches"]
    return batches


def changed(bench: Bench, query: str, *values: str) -> None:
    """Changes what the journal knows."""
    with closing(sqlite3.connect(bench.job.output / "_state" / "journal.sqlite")) as journal:
        journal.execute(query, values)
        journal.commit()


def test_a_batch_is_a_line_with_its_age_and_all_of_them_a_sum(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is in progress has no counts, since they say nothing before its end."""
    (created,) = held.lines("batch_created")
    began = datetime.now(UTC) - timedelta(hours=2, minutes=30)
    changed(held, "UPDATE batches SET intended_at=?", began.isoformat())
    line, total = said(held, capsys).splitlines()
    assert line.split()[:4] == [created["batch_id"], "3", "items", "in_progress"]
    assert "2:30:" in line
    assert line.endswith(" old")
    assert total.startswith("1 batch, 3 items without a result; run the configuration again to collect them")


def test_nothing_in_flight_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to run again for."""
    with standing(tmp_path, 2) as bench:
        assert said(bench, capsys) == "0 batches, 0 items without a result\n"
        assert told(bench, capsys) == []


def test_programs_are_told_everything(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids, times that can be read, the service's state and counts; nowhere the key."""
    (batch,) = told(held, capsys)
    (created,) = held.lines("batch_created")
    assert list(batch) == [
        "batch_id",
        "fingerprint",
        "items",
        "submitted_at",
        "status",
        "expires_at",
        "request_counts",
    ]
    assert (batch["batch_id"], batch["items"], batch["status"]) == (created["batch_id"], 3, "in_progress")
    submitted, expires = (datetime.fromisoformat(batch[name]) for name in ("submitted_at", "expires_at"))
    assert submitted.tzinfo is not None
    assert timedelta(hours=23) < expires - submitted < timedelta(hours=25)
    assert batch["request_counts"]["processing"] == 3
    assert CANARY not in json.dumps(batch)


def test_one_that_has_ended_says_what_became_of_its_items(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the counts that are not zero; it is still to be collected."""
    held.batches.hold(False)
    (created,) = held.lines("batch_created")
    held.ended(created["batch_id"])
    line, total = said(held, capsys).splitlines()
    assert "ended" in line
    assert line.endswith("3 succeeded")
    assert "3 items without a result" in total


def test_canceling_says_how_each_stands(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """What was canceled is listed until a run has collected it."""
    line, _ = said(held, capsys, "cancel").splitlines()
    assert "cancel" in line
    (created,) = held.lines("batch_created")
    held.ended(created["batch_id"])
    assert "3 canceled" in said(held, capsys)
    assert len(held.lines("batch_call", call="cancel")) == 1


def test_what_is_not_known_is_said_to_be_so(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """By the service, or by the journal; programs are told of neither state nor counts."""
    (created,) = held.lines("batch_created")
    held.batches.hold(False)
    held.ended(created["batch_id"])
    held.batches.delete(created["batch_id"])
    assert "not known to the service any more" in said(held, capsys)
    changed(held, "UPDATE batches SET batch_id=NULL")
    line, _ = said(held, capsys).splitlines()
    assert line.split() == ["creation", "not", "confirmed", "3", "items"]
    (batch,) = told(held, capsys)
    assert (batch["batch_id"], batch["status"], batch["expires_at"], batch["request_counts"]) == (None, None, None, {})


def test_settings_of_the_command_line_count(held: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Another address has other batches; the embedded one has none that could be listed."""
    assert "0 batches" in said(held, capsys, "list", "api.base_url=http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="whose batches go with each run"):
        said(held, capsys, "list", "api.base_url=embedded")


def test_a_service_that_refuses_ends_the_command_with_its_code(held: Bench) -> None:
    """3, one line of why, and no key in it."""
    held.faults("get/401")
    done = run_pipeline("batches", held.job.config_path, "list")
    assert (done.returncode, done.stdout) == (3, "")
    assert "authentication_error" in done.stderr
    assert CANARY not in done.stderr
