"""The view of a run: what it says, and how it behaves on a real terminal."""

import json
import logging
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.jobs import make_job, run_pipeline
from support.running import plan_of
from support.standins import billed
from support.terminal import COLUMNS, Screen, Terminal
from support.virtual_time import now, run_virtual

from pipeline.engines.job import LiveRun
from pipeline.engines.plan import RunPlan
from pipeline.engines.totals import Totals
from pipeline.faces.progress import choose_view, expected_items, state_line
from pipeline.limits.pacer import Need, Pacer
from pipeline.records import Usage
from pipeline.settings import SettingsLimits
from pipeline.store.read import read_results

OFF: Any = dict.fromkeys(("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute"), "off")
NEED = Need(image_tokens=0, text_chars=0, max_tokens=1, worst_usd=0.0)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """Any plan: views look at counters."""
    return plan_of(make_job(tmp_path_factory.mktemp("job"), "embedded", images=1))


def live(plan: RunPlan, totals: Totals, rows: int | None = None, pacer: Pacer | None = None) -> LiveRun:
    """A run that began at 100 s."""
    return LiveRun("run", plan, totals, pacer or Pacer(SettingsLimits(**OFF, concurrency=4)), rows, started=100.0)


def test_the_line_has_speed_tokens_money_retries_failures_and_places(plan: RunPlan) -> None:
    """30 images in 10 s are 3.0 a second."""
    totals = Totals(images=30, usage=Usage(12_000, 345), cost_usd=0.5, retried=2, failed=1)
    text = state_line(live(plan, totals), 110.0)
    assert text == "3.0 img/s · 12,345 tok · $0.5000 · 2 retried · 1 failed · 0/4 in flight"


def test_the_line_is_sound_at_the_very_start(plan: RunPlan) -> None:
    """No time has passed, nothing is done."""
    assert state_line(live(plan, Totals()), 100.0).startswith("0.0 img/s · 0 tok")


def test_the_line_says_what_limits_the_run(plan: RunPlan) -> None:
    """A pause after a 429, then the limit that requests wait for."""

    async def main() -> list[str]:
        pacer = Pacer(SettingsLimits(**{**OFF, "requests_per_minute": 60}, concurrency=4), clock=now)
        said = []
        permit = await pacer.permit(NEED)
        said.append(state_line(live(plan, Totals(), pacer=pacer), 101.0))
        permit.refused({}, limited_s=12.0, overloaded=False)
        said.append(state_line(live(plan, Totals(), pacer=pacer), 101.0))
        for _ in range(3):
            (await pacer.permit(NEED)).answered(Usage(), 0.0, {}, 0.1)
        said.append(state_line(live(plan, Totals(), pacer=pacer), 101.0))
        return said

    sent, paused, limited = run_virtual(main)
    assert "1/4 in flight" in sent
    assert paused.endswith("rate limited, 12 s")
    assert "requests limit 1" in limited
    assert "rate limited" not in limited


def test_the_line_says_that_the_service_is_down(plan: RunPlan) -> None:
    """The breaker is open, so nothing moves, and people should know why."""

    async def main() -> str:
        pacer = Pacer(SettingsLimits(**OFF, concurrency=64), clock=now)
        permits = [await pacer.permit(NEED) for _ in range(40)]
        for permit in permits:
            permit.refused({}, limited_s=None, overloaded=True)
        return state_line(live(plan, Totals(), pacer=pacer), 101.0)

    assert run_virtual(main).endswith("service down, probing")


@given(st.integers(0, 1000), st.one_of(st.none(), st.integers(0, 1000)), st.booleans())
@settings(deadline=None)
def test_the_expected_number_is_exact_once_the_manifest_is_read(
    plan: RunPlan, total: int, rows: int | None, complete: bool
) -> None:
    """Before that it is the hint, never below what was seen; without a hint it is not known."""
    expected = expected_items(live(plan, Totals(total=total, complete=complete), rows))
    if complete:
        assert expected == total
    elif rows is None:
        assert expected is None
    else:
        assert expected == max(rows, total)


def test_log_lines_come_soon_and_then_now_and_then(plan: RunPlan, caplog: pytest.LogCaptureFixture) -> None:
    """Five seconds in, a minute in, each minute after: a cron mail stays short; numbers are there for machines."""

    async def main() -> list[float]:
        view = choose_view("log")
        assert view is not None
        heard: list[float] = []

        class Ear(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                heard.append(now() if record.levelno == logging.INFO else -1)

        logger.addHandler(ear := Ear())
        try:
            with anyio.move_on_after(600):
                await view(live(plan, Totals(total=8, succeeded=2, skipped=1, cost_usd=0.25), rows=10))
        finally:
            logger.removeHandler(ear)
        return heard

    logger = logging.getLogger("pipeline.faces.progress")
    with caplog.at_level(logging.INFO, logger.name):
        heard = run_virtual(main)
    assert heard[:6] == [5, 15, 30, 60, 120, 180]
    assert len(heard) <= 14
    record = caplog.records[0]
    assert record.getMessage().startswith("3 items of 10 settled · ")
    assert "ETA" in record.getMessage()
    assert vars(record)["numbers"] == {"settled": 3, "expected": 10, "cost_usd": 0.25}


def test_there_is_no_time_to_the_end_where_nothing_is_known_of_it(
    plan: RunPlan, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing done yet, everything done, or a manifest of unknown length."""
    unknown = [(Totals(total=8), 10), (Totals(total=8, skipped=8), 9), (Totals(total=8, succeeded=3), None)]
    done = [(Totals(total=8, succeeded=8, complete=True), None)]

    async def main() -> None:
        view = choose_view("log")
        assert view is not None
        for totals, rows in unknown + done:
            with anyio.move_on_after(6):
                await view(live(plan, totals, rows))

    with caplog.at_level(logging.INFO, "pipeline.faces.progress"):
        run_virtual(main)
    assert len(caplog.records) == 4
    assert not [record for record in caplog.records if "ETA" in record.getMessage()]


def test_without_a_terminal_the_view_is_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` looks at standard error; `none` shows nothing; `bar` is a bar wherever it goes."""
    assert choose_view("none") is None
    assert choose_view("auto") is choose_view("log")
    assert choose_view("bar") is not choose_view("log")


def rows_of(shown: list[str], text: str) -> list[int]:
    """On which rows a text stands."""
    return [number for number, row in enumerate(shown) if text in row]


def test_a_bar_is_drawn_below_the_log_and_leaves_a_clean_terminal(tmp_path: Path, start_standin: Any) -> None:
    """No line is wider than the terminal, failures stand above the bar, and at the end only they and the hints stay."""
    server = start_standin(latency_s=(0.15, 0.25))
    job = make_job(tmp_path, server.url, images=12)
    long = "gone/" + "very-long-name" * 12
    job.add_rows(["gone", "gone.jpg", "Gone"], ["long\x1b[31m", f"{long}.jpg", "Long"])
    terminal = Terminal(tmp_path / "stdout", "run", job.config_path, "--json", "--set", "limits.concurrency=2")
    terminal.read_to_end()
    assert terminal.process.returncode == 1, terminal.raw
    assert json.loads((tmp_path / "stdout").read_text())["items"]["succeeded"] == 12
    screen = terminal.screen
    assert "Traceback" not in terminal.raw
    assert screen.widest <= COLUMNS
    assert screen.unknown == []
    assert rows_of(screen.rows, "failed: long\\x1b[31m")
    drawn = [shown for shown in terminal.seen if rows_of(shown, "img/s")]
    assert len(drawn) >= 3
    for shown in drawn:
        assert len(rows_of(shown, "img/s")) == 1
        assert max(rows_of(shown, "failed: "), default=-1) < rows_of(shown, "img/s")[0]
    assert any(rows_of(shown, "failed: gone") and rows_of(shown, "/14") for shown in drawn)
    assert not rows_of(screen.rows, "img/s")
    assert len(rows_of(screen.rows, "failed: ")) == 2
    assert screen.cursor_shown
    assert terminal.modes_are_kept


def test_a_signal_leaves_a_clean_terminal(tmp_path: Path, start_standin: Any) -> None:
    """After SIGTERM the bar is gone, the cursor is back, and the reason stands there."""
    server = start_standin(latency_s=(0.1, 0.2))
    job = make_job(tmp_path, server.url, images=80)
    terminal = Terminal(tmp_path / "stdout", "run", job.config_path, "--json", "--set", "limits.concurrency=2")
    terminal.read_until(lambda rows: rows_of(rows, "img/s") and not rows_of(rows, "0.0 img/s"))
    assert not terminal.screen.cursor_shown
    terminal.process.send_signal(signal.SIGTERM)
    terminal.read_to_end()
    assert terminal.process.returncode == 143
    assert json.loads((tmp_path / "stdout").read_text())["items"]["succeeded"] == len(billed(server.options.log))
    assert rows_of(terminal.screen.rows, "SIGTERM received")
    assert not rows_of(terminal.screen.rows, "img/s")
    assert terminal.screen.cursor_shown
    assert terminal.screen.widest <= COLUMNS
    assert terminal.modes_are_kept
    assert "Traceback" not in terminal.raw


def test_a_terminal_that_goes_away_costs_the_run_nothing(tmp_path: Path, start_standin: Any) -> None:
    """The window is closed while the run goes: every item is captioned, and the exit code is the run's."""
    server = start_standin(latency_s=(0.1, 0.1))
    job = make_job(tmp_path, server.url, images=10)
    job.add_rows(["gone", "gone.jpg", "Gone"])
    words = ("run", job.config_path, "--json", "--set", "limits.concurrency=2", "--set", "limits.max_failures=1")
    terminal = Terminal(tmp_path / "stdout", *words)
    terminal.read_until(lambda rows: rows_of(rows, "img/s"))
    terminal.hang_up()
    assert terminal.process.wait(60) == 0
    assert read_results(job.output).num_rows == 10


def test_a_terminal_that_cannot_move_its_cursor_has_lines(tmp_path: Path, start_standin: Any) -> None:
    """`TERM=dumb`, as in an editor's shell, gets no codes at all."""
    job = make_job(tmp_path, start_standin().url, images=1)
    terminal = Terminal(tmp_path / "stdout", "run", job.config_path, TERM="dumb")
    terminal.read_to_end()
    assert terminal.process.returncode == 0
    assert "\x1b" not in terminal.raw


def test_progress_none_shows_nothing(tmp_path: Path, start_standin: Any) -> None:
    """Nothing but what went wrong stands on standard error; `bar` without a terminal writes no codes either."""
    job = make_job(tmp_path, start_standin().url, images=1)
    assert run_pipeline("run", job.config_path, "--progress", "none").stderr == ""
    again = run_pipeline("run", job.config_path, "--progress", "bar")
    assert again.returncode == 0
    assert "\x1b" not in again.stderr


def test_the_screen_of_these_tests_obeys() -> None:
    """It overwrites, moves up, erases, and knows a code that comes in two pieces."""
    screen = Screen()
    for text in ("one\ntwo\nthree\r\x1b[2", "K\x1b[1A\x1b[2Kbar\x1b[?25l"):
        screen.feed(text)
    assert (screen.rows, screen.widest, screen.cursor_shown) == (["one", "bar", ""], 5, False)
    assert screen.unknown == []
