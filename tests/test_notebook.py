"""The Python API: blocking, in a thread, and inside a running event loop."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.jobs import CANARY, Job, make_job
from support.standins import answers, billed

import pipeline
from pipeline.config import load_config
from pipeline.errors import ConfigError, PipelineError
from pipeline.notebook import handlers_kept, run_options
from pipeline.standin.server import StandinServer


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key as a notebook has it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)


@pytest.fixture
def server(start_standin: Any) -> StandinServer:
    """A stand-in."""
    started: StandinServer = start_standin()
    return started


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """Handlers of a host program, which are its own again afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: None)
    yield {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        signal.signal(number, handler)


def sent(server: StandinServer) -> int:
    """Requests that the server answered."""
    assert server.options.log is not None
    return len(answers(server.options.log))


def test_a_run_blocks_and_gives_its_summary(tmp_path: Path, server: StandinServer) -> None:
    """As in the README: a file, a limit, then the table; a configuration that is loaded already does as well."""
    job = make_job(tmp_path, server.url, images=3)
    summary = pipeline.run(str(job.config_path), limit=2)
    assert isinstance(summary, pipeline.RunSummary)
    assert (summary.exit_code, summary.items["succeeded"]) == (0, 2)
    assert pipeline.read_results(job.output).num_rows == 2
    rest = pipeline.run(load_config(job.config_path))
    assert (rest.items["succeeded"], rest.items["skipped"]) == (1, 2)


def test_signal_handlers_are_afterwards_as_they_were(
    tmp_path: Path, server: StandinServer, handlers: dict[int, Any]
) -> None:
    """The event loop would leave the defaults, and the host program would die of the next SIGTERM."""
    pipeline.run(make_job(tmp_path, server.url, images=1).config_path)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_ctrl_c_ends_a_run_in_good_order(tmp_path: Path, start_standin: Any, handlers: dict[int, Any]) -> None:
    """What was in flight is kept; the notebook goes on with a summary whose exit code is 130."""
    server = start_standin(latency_s=(0.05, 0.1))
    job = make_job(tmp_path, server.url, images=60)

    def interrupt() -> None:
        while not billed(server.options.log):
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    summary = pipeline.run(job.config_path, overrides=["limits.concurrency=2"])
    sender.join()
    assert summary.exit_code == 130
    assert summary.items["succeeded"] == len(billed(server.options.log)) == pipeline.read_results(job.output).num_rows


def test_a_run_in_another_thread_touches_no_signal(
    tmp_path: Path, server: StandinServer, handlers: dict[int, Any]
) -> None:
    """Only the main thread may; two threads run two jobs at once."""
    jobs = [make_job(tmp_path / name, server.url, images=3) for name in "ab"]
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda job=job: codes.append(pipeline.run(job.config_path).exit_code)) for job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_whether_signals_are_watched_is_the_threads_matter() -> None:
    """The main thread gives its handlers back whatever happens in between."""
    with handlers_kept() as in_main_thread:
        assert in_main_thread
    found: list[bool] = []

    def other() -> None:
        with handlers_kept() as watched:
            found.append(watched)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [False]


def test_in_a_running_loop_a_run_is_awaited(tmp_path: Path, server: StandinServer) -> None:
    """As in a notebook: other tasks go on meanwhile; the blocking call says what to do instead."""
    job = make_job(tmp_path, server.url, images=3)

    async def notebook() -> tuple[pipeline.RunSummary, int]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0)
                beats += 1

        with pytest.raises(ConfigError, match=r"await pipeline\.run_async"):
            pipeline.run(job.config_path)
        other = asyncio.create_task(beat())
        summary = await pipeline.run_async(job.config_path)
        other.cancel()
        return summary, beats

    summary, beats = asyncio.run(notebook())
    assert (summary.exit_code, summary.items["succeeded"]) == (0, 3)
    assert beats > 10


@pytest.mark.parametrize("native", [True, False])
def test_cancelling_keeps_what_was_received(tmp_path: Path, start_standin: Any, native: bool) -> None:
    """An interrupted cell loses no answer that arrived, and the next run pays for none of them again."""
    server = start_standin("black_hole:after=5")
    job = make_job(tmp_path, server.url, images=8, settings={"limits": {"concurrency": 3}})

    async def received() -> None:
        while server.service.counts["in_flight"] < 3 or len(billed(server.options.log)) < 8:  # noqa: ASYNC110 - a thread's
            await asyncio.sleep(0)

    async def cell() -> None:
        if native:
            task = asyncio.create_task(pipeline.run_async(job.config_path))
            await received()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run_async, job.config_path)
            await received()
            tasks.cancel_scope.cancel()

    asyncio.run(asyncio.wait_for(cell(), 30))
    assert pipeline.read_results(job.output).num_rows == 5
    server.service.faults = ()
    again = pipeline.run(job.config_path)
    assert (again.exit_code, again.items["skipped"], again.requests["sent"]) == (0, 5, 3)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"limt": 3}, "limt: unknown keyword; did you mean limit? allowed: accept_new_fingerprint, limit, max_runtime"),
        ({"limit": 0}, "limit: found 0; allowed: a whole number of at least 1"),
        ({"limit": "5"}, 'limit: found "5"; allowed: a whole number'),
        ({"sample": True}, "sample: found True; allowed: a whole number"),
        ({"sample": 2.5}, "sample: found 2.5; allowed: a whole number"),
        ({"shard": "3/2"}, 'shard: found "3/2"; allowed: I/N with 1 <= I <= N, such as 2/8'),
        ({"shard": "0/2"}, "allowed: I/N"),
        ({"shard": "1/" + "9" * 5000}, "allowed: I/N"),
        ({"shard": (1, 2)}, r"shard: found \(1, 2\); allowed: I/N"),
        ({"only": "timeout"}, "only: chooses among the failed, so it needs retry_failed"),
        ({"retry_failed": "yes"}, 'retry_failed: found "yes"; allowed: True or False'),
        ({"accept_new_fingerprint": 1}, "accept_new_fingerprint: found 1; allowed: True or False"),
        ({"max_runtime": "soon"}, 'max_runtime: found "soon"; allowed: a duration such as 55m'),
        ({"max_runtime": 60}, "max_runtime: found 60; allowed: a text such as 55m"),
        ({"progress": "fancy"}, 'progress: found "fancy"; allowed: auto, bar, log, none'),
        ({"overrides": "api.max_tokens=3"}, "overrides: found .* a list of texts"),
        ({"overrides": ["api.max_tokenz=3"]}, "api.max_tokenz: unknown key"),
    ],
)
def test_a_wrong_keyword_says_what_is_allowed_and_nothing_is_sent(
    tmp_path: Path, server: StandinServer, keywords: dict[str, Any], text: str
) -> None:
    """A misspelt limit must not caption the whole manifest."""
    job = make_job(tmp_path, server.url, images=1)
    with pytest.raises(ConfigError, match=text.replace("?", r"\?")) as refused:
        pipeline.run(job.config_path, **keywords)
    assert refused.value.exit_code == 2
    assert not job.output.exists()
    assert sent(server) == 0


def test_the_command_line_is_told_of_its_own_options() -> None:
    """The same rules, in the words that were typed."""
    for keywords, name in (
        ({"shard": "3/2"}, "--shard"),
        ({"only": "x"}, "--retry-failed"),
        ({"max_runtime": "x"}, "--max-runtime"),
    ):
        with pytest.raises(ConfigError, match=name):
            run_options(keywords, signals=True, as_flags=True)  # type: ignore[arg-type]


def test_keywords_become_options() -> None:
    """Each one arrives."""
    options = run_options(
        {
            "limit": 3,
            "sample": 9,
            "shard": "2/8",
            "retry_failed": True,
            "only": "timeout",
            "accept_new_fingerprint": True,
            "max_runtime": "1h30m",
        },
        signals=False,
    )
    choice = options.choice
    assert (choice.limit, choice.sample, choice.shard) == (3, 9, (2, 8))
    assert (choice.retry_failed, choice.only) == (True, "timeout")
    assert (options.accept_new_fingerprint, options.max_runtime_s, options.signals) == (True, 5400.0, False)
    empty = run_options({"limit": None, "shard": None, "only": None, "max_runtime": None}, signals=True)
    assert (empty.choice.limit, empty.choice.shard, empty.max_runtime_s, empty.signals) == (None, None, None, True)


def test_overrides_belong_to_a_file(tmp_path: Path, server: StandinServer) -> None:
    """For a configuration that is loaded already they would be lost without a word."""
    job = make_job(tmp_path, server.url, images=1)
    with pytest.raises(ConfigError, match="load_config"):
        pipeline.run(job.config(), overrides=["api.max_tokens=7"])
    assert pipeline.run(job.config_path, overrides=iter(["api.max_tokens=77"])).items["succeeded"] == 1
    note = json.loads(next((job.output / "runs").iterdir()).read_text())
    assert note["config"]["api"]["max_tokens"] == 77


def test_what_goes_wrong_before_the_start_is_raised(tmp_path: Path, server: StandinServer) -> None:
    """One base class for all of it."""
    job = make_job(tmp_path, server.url, images=1)
    with pytest.raises(PipelineError, match=r"none\.toml"):
        pipeline.run(tmp_path / "none.toml")
    with pytest.raises(PipelineError, match="gone"):
        pipeline.run(job.config_path, overrides=[f"manifest.path={tmp_path / 'gone.csv'}"])


SCRIPT = """
import sys
before = set(sys.modules)
import pipeline
heavy = {"pyarrow", "PIL", "httpx", "aiohttp", "pydantic", "anyio", "uvicorn", "rich", "jinja2", "click", "asyncio"}
assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)
names = {}
exec("from pipeline import *", names)
assert set(pipeline.__all__) <= names.keys(), names.keys()
assert pipeline.__all__ == ["RunSummary", "read_results", "run", "run_async"]
try:
    pipeline.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
summary = pipeline.run(sys.argv[1], progress="log", overrides=["limits.max_failures=20"])
print(summary.exit_code, summary.items["failed"])
"""


@pytest.fixture
def script(tmp_path: Path, server: StandinServer) -> tuple[subprocess.CompletedProcess[str], Job]:
    """A plain script in a process of its own, with fifteen images missing."""
    job = make_job(tmp_path, server.url, images=1)
    job.add_rows(*[[f"gone-{number}\x1b[2J", "gone.jpg", "T"] for number in range(15)])
    command = [sys.executable, "-c", SCRIPT, str(job.config_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False), job


def test_a_script_imports_quickly_and_sees_a_few_safe_lines(
    script: tuple[subprocess.CompletedProcess[str], Job],
) -> None:
    """Nothing heavy is loaded before it is used; without logging of its own, failures are shown as the command does."""
    done, _ = script
    assert done.stdout == "0 15\n", done.stderr
    assert done.stderr.count("failed: gone-") == 10
    assert "are counted and not shown" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_run_leaves_standard_error_alone_where_all_is_well(tmp_path: Path, server: StandinServer) -> None:
    """`progress` is `none` by default: a notebook's cell stays clean."""
    job = make_job(tmp_path, server.url, images=1)
    with redirect_stderr(io.StringIO()) as err:
        pipeline.run(job.config_path)
    assert err.getvalue() == ""
