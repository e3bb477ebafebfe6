"""What commands print, and where: in processes of their own where streams are closed, full, or of another alphabet."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.datasets import answered, failed, write_run
from support.jobs import CANARY, Job, environment, make_job, pipeline_process, run_pipeline
from support.logging_state import logging_kept
from support.standins import answers

from pipeline.cli import cli
from pipeline.commands.checking import check_command
from pipeline.commands.datasets import status_command
from pipeline.errors import ConfigError
from pipeline.store.parts import list_parts
from pipeline.store.read import read_results
from pipeline.store.schema import Kind


@pytest.fixture(autouse=True)
def _logging_kept() -> Iterator[None]:
    """Commands set up the log of their process."""
    with logging_kept():
        yield


def run_shell(redirection: str, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program with its streams as a shell sets them."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "pipeline", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**variables), timeout=60, check=False
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two pictures and one that is missing, captioned by the stand-in inside the run."""
    job = make_job(tmp_path_factory.mktemp("job"), "embedded", images=2, settings={"limits": {"max_failures": 1}})
    job.add_rows(["gone-Zoë", "gone.jpg", "Gone"])
    return job


def fresh(job: Job, tmp_path: Path) -> tuple[str, ...]:
    """The words that run the job into a new output."""
    return ("run", str(job.config_path), "--set", f"output.path={tmp_path / 'out'}")


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full"])
def test_streams_that_cannot_be_written_change_no_exit_code(job: Job, tmp_path: Path, redirection: str) -> None:
    """The exit code is about the items; a full disk under standard output is said where it can be."""
    done = run_shell(redirection, *fresh(job, tmp_path), "--progress", "log")
    assert done.returncode == 0, done.stderr
    assert read_results(tmp_path / "out").num_rows == 2
    assert "Traceback" not in done.stderr
    if redirection == ">/dev/full":
        assert "standard output: No space left on device" in done.stderr


def test_a_reader_that_goes_away_changes_no_exit_code(job: Job, tmp_path: Path) -> None:
    """Both pipes are closed at once, as by `| head`: nothing is said at the end by the interpreter either."""
    with pipeline_process(*fresh(job, tmp_path), "--progress", "log") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_error_with_json_is_told_even_where_standard_error_is_gone(job: Job, redirection: str) -> None:
    """And standard output holds the one object alone."""
    done = run_shell(redirection, "run", job.config_path, "--json", "--set", "api.max_tokens=none")
    assert done.returncode == 2
    assert "api.max_tokens" in json.loads(done.stdout)["error"]["message"]


def test_letters_that_a_terminal_does_not_have_are_escaped(job: Job, tmp_path: Path) -> None:
    """A caption with an accent ends no run on an old terminal."""
    done = run_shell("", *fresh(job, tmp_path), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "gone-Zo\\xeb: image_missing" in done.stdout
    assert "gone-Zo\\xeb" in done.stderr


def test_remarks_are_lines_of_the_log(job: Job, tmp_path: Path) -> None:
    """In the form that was asked for, so that every line on standard error can be parsed."""
    words = ("--set", "api.model=my-model", "--log-format", "json", "--progress", "none")
    done = run_pipeline(*fresh(job, tmp_path), *words)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("my-model" in line["message"] and line["level"] == "info" for line in lines)
    assert any(line.get("error_type") == "image_missing" for line in lines)


def test_a_log_file_that_cannot_be_opened_is_2_before_anything_is_done(job: Job, tmp_path: Path) -> None:
    """The option and the file are named; no output is made."""
    done = run_pipeline(*fresh(job, tmp_path), "--log-file", tmp_path / "none" / "log", "--json")
    assert done.returncode == 2
    assert "--log-file" in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_a_signal_between_start_and_run_is_143(tmp_path: Path, start_standin: Any) -> None:
    """SIGTERM while the manifest is awaited on a pipe: nothing was sent, and the process does not die of it."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    read, write = os.pipe()
    words = ("run", job.config_path, "--set", "manifest.path=-", "--log-file", tmp_path / "log")
    process = pipeline_process(*words, stdin=read)
    while not (tmp_path / "log").exists():
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    os.close(write)
    os.close(read)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    assert answers(server.options.log) == []


def test_a_fault_of_the_program_is_shown_whole_and_without_the_key(tmp_path: Path) -> None:
    """A traceback helps to mend it; whoever pastes it into an issue does not give the key away."""
    code = (
        "import sys, click\nfrom pipeline import cli\nfrom pipeline.faces.logs import set_up_logs\n"
        "@cli.cli.command()\n"
        "def burst():\n"
        "    set_up_logs('text', None, [sys.argv[1]])\n"
        "    raise ZeroDivisionError(f'header {sys.argv[1]}')\n"
        "cli.main(['burst'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, CANARY], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: header ***" in done.stderr
    assert done.stderr.endswith("pipeline: unexpected fault; please report it with the lines above\n")
    assert CANARY not in done.stderr


def test_check_names_each_problem_of_a_configuration_by_itself(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that counts them is none of them; keys that do not exist and values that the model refuses alike."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    wrong = (
        (["api.max_tokenz=3", "api.nonsense=1"], 2, ["api.max_tokenz", "api.nonsense"]),
        (
            ["api.base_url=http://127.0.0.1:9", "api.model=claude-sonnet-5-5", "api.temperature=0.5"],
            2,
            ["api.temperature", "api.api_key_env"],
        ),
        (["api.max_tokens=0"], 1, ["api.max_tokens"]),
    )
    for overrides, count, names in wrong:
        assert check_command(str(job.config_path), tuple(overrides), online=False, as_json=True) == 1
        problems = json.loads(capsys.readouterr().out)["problems"]
        assert len(problems) == count
        for name, problem in zip(names, problems, strict=True):
            assert name in problem


def test_check_prints_the_effective_configuration_with_secrets_masked(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults and overrides are there, the header's value is not; the missing image is allowed, and noted."""
    monkeypatch.setenv("PIPELINE__API__HEADERS", '{"x-token" = "sk-own-secret"}')
    assert check_command(str(job.config_path), ("images.quality=61",), online=False, as_json=False) == 0
    text = capsys.readouterr().out
    assert "quality = 61" in text
    assert "max_attempts = 8" in text
    assert "sk-own-secret" not in text
    assert "note     gone-Zoë: image_missing" in text
    assert text.endswith("no problems: 3 rows read, 2 images prepared, nothing sent\n")


def test_status_has_what_the_contract_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By newest row; nothing in it belongs to one run."""
    write_run(tmp_path, [answered("a"), failed("b"), failed("c", "timeout")])
    assert status_command(tmp_path, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["items"] == {"total": 3, "succeeded": 1, "failed": 2}
    assert told["requests"] == {"sent": 3, "succeeded": 3, "retried": 0, "rate_limited": 0}
    assert told["usage"] == {
        "input_tokens": 30,
        "output_tokens": 6,
        "cache_creation_input_tokens": 9,
        "cache_read_input_tokens": 12,
    }
    assert told["cost_usd"] == 1.5
    assert told["failures_by_type"] == {"image_missing": 1, "timeout": 1}
    assert told["output"] == str(tmp_path)
    assert told["fingerprints"] == {"f1": 3}
    assert not {"run_id", "seconds", "exit_code"} & told.keys()
    assert status_command(tmp_path, as_json=False) == 0
    assert "1 succeeded, 2 failed" in capsys.readouterr().out


def test_status_names_a_damaged_part_on_standard_error(tmp_path: Path) -> None:
    """Standard output stays one object; a folder that is no dataset is 2."""
    write_run(tmp_path / "out", [answered("a")])
    list_parts(tmp_path / "out", Kind.RESULTS)[0].write_bytes(b"torn")
    done = run_pipeline("status", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["items"]["total"] == 0
    assert "warning" in done.stderr
    none = run_pipeline("status", tmp_path, "--json")
    assert none.returncode == 2
    assert "no dataset" in json.loads(none.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--latency", "fast"), ["--latency", "fast"]),
        (("--latency", "3,1"), ["--latency", "3,1"]),
        (("--latency", "nan"), ["--latency"]),
        (("--fault", "nonsense"), ["nonsense", "529"]),
        (("--port", "0", "--log", "/dev/null/log.jsonl"), ["--log /dev/null"]),
        (("--port", "0", "--host", "256.1.1.1"), ["--port 0 on 256.1.1.1"]),
        (("--port", "0", "--host", "\u00e4.." * 30), ["--host"]),
    ],
)
def test_serve_tells_what_it_cannot_do(words: tuple[str, ...], names: list[str]) -> None:
    """The option is named, before anything listens; the exit code is 2."""
    with pytest.raises(ConfigError) as refused:
        cli.main(["serve", *words], standalone_mode=False)
    assert refused.value.exit_code == 2
    for name in names:
        assert name in str(refused.value)
