"""The program as a process: words, exit codes, streams, signals, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.jobs import CANARY, environment, make_job, pipeline_process, run_pipeline
from support.standins import answers, billed, read_log

from pipeline.standin.server import StandinServer
from pipeline.store.read import read_results

PATIENCE_S = 60


def log_of(server: StandinServer) -> Path:
    """A stand-in's log."""
    assert server.options.log is not None
    return server.options.log


def wait_for_answers(server: StandinServer, count: int) -> None:
    """Until the server has answered so many; the bound is for a hang and is no expectation."""
    end = time.monotonic() + PATIENCE_S
    while len(billed(log_of(server))) < count:
        assert time.monotonic() < end, "the server was not asked"
        os.sched_yield()


def test_run_prints_one_object_with_json_and_nothing_else_on_standard_output(
    tmp_path: Path, start_standin: Any
) -> None:
    """Scripts read standard output whole; everything else is on standard error."""
    job = make_job(tmp_path, start_standin().url, images=2)
    done = run_pipeline("run", job.config_path, "--json", "--progress", "log")
    summary = json.loads(done.stdout)
    assert done.returncode == summary["exit_code"] == 0
    assert summary["items"] == {"total": 2, "succeeded": 2, "failed": 0, "skipped": 0, "reused": 0, "pending": 0}
    status = json.loads(run_pipeline("status", job.output, "--json").stdout)
    assert status["items"] == {"total": 2, "succeeded": 2, "failed": 0}
    assert status["usage"] == summary["usage"]
    assert status["cost_usd"] == pytest.approx(summary["cost_usd"])


def test_the_summary_tells_what_failed_and_why(tmp_path: Path, start_standin: Any) -> None:
    """A person sees captions, the failure with its reason, tokens, dollars and where things are."""
    job = make_job(tmp_path, start_standin().url, images=2)
    job.add_rows(["gone", "gone.jpg", "Gone"])
    done = run_pipeline("run", job.config_path)
    assert done.returncode == 1
    for text in (
        "2 captioned, 1 failed",
        "gone: image_missing: gone.jpg: no such file",
        "landscape picture",
        "$0.0",
        "out",
    ):
        assert text in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["--set", "api.max_tokenz=3"], ["api.max_tokenz", "max_tokens"]),
        (["--set", "api.max_tokens=many"], ["api.max_tokens", "many"]),
        (["--set", "manifest.path=nowhere.csv"], ["nowhere.csv"]),
        (["--set", "manifest.image_column=photo"], ["photo", "manifest.image_column", "image"]),
        (["--set", "api.api_key_env=UNSET_KEY"], ["UNSET_KEY"]),
        (["--set", "output.path=/proc/out"], ["/proc/out", "output.path"]),
        (["--set", "api.base_url=http://example.com"], ["api.base_url", "api.allow_http"]),
        (["--set", "output.format=delta"], ["output.format", "delta"]),
        (["--set", "api.temperature=0.5", "--set", "api.model=claude-sonnet-5-5"], ["api.temperature"]),
        (["--engine", "ray", "--shard", "1/2"], ["--shard"]),
        (["--shard", "3/2"], ["--shard", "3/2"]),
        (["--only", "timeout"], ["--only", "--retry-failed"]),
        (["--max-runtime", "soon"], ["--max-runtime", "soon"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_what_is_wrong_before_the_start_is_2_and_names_place_and_remedy(
    tmp_path: Path, start_standin: Any, overrides: list[str], names: list[str]
) -> None:
    """Nothing is sent, nothing is written, and JSON carries the message too."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    done = run_pipeline("run", job.config_path, "--json", *overrides)
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["exit_code"] == 2
    for name in names:
        assert name in told["error"]["message"]
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert not job.output.exists()
    assert answers(log_of(server)) == []


def test_a_missing_configuration_is_2(tmp_path: Path) -> None:
    """The path is named."""
    for command in ("run", "check"):
        done = run_pipeline(command, tmp_path / "none.toml", "--json")
        assert done.returncode == 2
        assert "none.toml" in json.loads(done.stdout)["error"]["message"]


def test_check_tells_problems_and_sends_nothing(tmp_path: Path, start_standin: Any) -> None:
    """A good job is `ok`; a bad image that the run may not have is a problem, one that it may is a note."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    good = run_pipeline("check", job.config_path, "--json")
    told = json.loads(good.stdout)
    assert (good.returncode, told["ok"], told["problems"]) == (0, True, [])
    assert told["config"]["api"]["model"] == "claude-haiku-4-5"
    job.add_rows(["gone", "gone.jpg", "Gone"])
    bad = run_pipeline("check", job.config_path, "--json")
    assert bad.returncode == 1
    assert "image_missing" in json.loads(bad.stdout)["problems"][0]
    allowed = run_pipeline("check", job.config_path, "--set", "limits.max_failures=1")
    assert allowed.returncode == 0
    assert "image_missing" in allowed.stdout
    assert not job.output.exists()
    assert answers(log_of(server)) == []
    wrong = run_pipeline("check", job.config_path, "--set", "api.max_tokens=0", "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)["ok"]) == (1, False)


def test_check_online_asks_for_the_model(tmp_path: Path, start_standin: Any) -> None:
    """An unknown model is a problem before anything is paid."""
    job = make_job(tmp_path, start_standin().url, images=1)
    assert run_pipeline("check", job.config_path, "--online").returncode == 0
    unknown = run_pipeline("check", job.config_path, "--online", "--set", "api.model=claude-nobody-9", "--json")
    assert unknown.returncode == 1
    assert "claude-nobody-9" in json.loads(unknown.stdout)["problems"][0]


def test_a_manifest_comes_in_by_standard_input(tmp_path: Path, start_standin: Any) -> None:
    """`-` reads JSON lines from a pipe."""
    job = make_job(tmp_path, start_standin().url, images=2)
    lines = "".join(json.dumps({"id": name, "image": f"{name}.jpg", "title": name}) + "\n" for name in job.ids)
    words = ("run", job.config_path, "--json", "--set", "manifest.path=-")
    done = run_pipeline(*words, "--set", f"manifest.root={tmp_path}", input=lines)
    assert json.loads(done.stdout)["items"]["succeeded"] == 2


def test_a_killed_run_is_resumed_and_nothing_that_arrived_is_paid_again(tmp_path: Path, start_standin: Any) -> None:
    """After kill -9, the next run sends again only what was in flight; every item ends with one row."""
    server = start_standin(latency_s=(0.01, 0.05))
    job = make_job(tmp_path, server.url, images=40)
    in_flight = 4
    words = ("run", job.config_path, "--progress", "none", "--set", f"limits.concurrency={in_flight}")
    for kills in (1, 2):
        process = pipeline_process(*words)
        wait_for_answers(server, 8 * kills)
        process.kill()
        process.communicate()
    done = run_pipeline(*words, "--json")
    assert done.returncode == 0
    results = read_results(job.output).to_pylist()
    assert sorted(row["item_id"] for row in results) == sorted(job.ids)
    bill = billed(log_of(server))
    assert len(bill) - len(job.ids) <= 2 * in_flight
    requests = read_results(job.output, requests=True).to_pylist()
    known = {row["request_id"] for row in requests} - {None}
    arrived = [line for line in bill if line["request_id"] in known]
    assert sum(row["cost_usd"] or 0 for row in requests) == pytest.approx(sum(line["cost_usd"] for line in arrived))
    assert {row["request_id"] for row in results} <= known


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_keeps_what_was_in_flight(
    tmp_path: Path, start_standin: Any, number: signal.Signals, code: int
) -> None:
    """No new request is sent, what was in flight is awaited and kept, and nothing is billed twice."""
    server = start_standin(latency_s=(0.05, 0.2))
    job = make_job(tmp_path, server.url, images=60)
    process = pipeline_process("run", job.config_path, "--json", "--set", "limits.concurrency=4")
    wait_for_answers(server, 5)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    summary = json.loads(stdout)
    assert summary["exit_code"] == code
    assert len(billed(log_of(server))) == summary["items"]["succeeded"] == read_results(job.output).num_rows < 60
    assert "Traceback" not in stderr
    assert run_pipeline("run", job.config_path).returncode == 0
    assert len(billed(log_of(server))) == 60


def test_a_second_signal_stops_at_once(tmp_path: Path, start_standin: Any) -> None:
    """Requests that hang do not hold the process; what had arrived is kept, only what was in flight is sent again."""
    server = start_standin("black_hole:after=6")
    job = make_job(tmp_path, server.url, images=10, settings={"retry": {"drain_seconds": 3600}})
    process = pipeline_process("run", job.config_path, "--json", "--set", "limits.concurrency=3")
    wait_for_answers(server, 9)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "SIGTERM" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143
    assert json.loads(stdout)["items"]["succeeded"] == read_results(job.output).num_rows == 6
    server.service.faults = ()
    assert run_pipeline("run", job.config_path).returncode == 0
    assert len(billed(log_of(server))) == 10 + 3


def test_two_runs_at_once_pay_once(tmp_path: Path, start_standin: Any) -> None:
    """One works, the others exit with 75."""
    server = start_standin(latency_s=(0.02, 0.05))
    job = make_job(tmp_path, server.url, images=12)
    processes = [pipeline_process("run", job.config_path, "--progress", "none") for _ in range(3)]
    codes = []
    for process in processes:
        process.communicate(timeout=PATIENCE_S)
        codes.append(process.returncode)
    assert codes.count(0) >= 1
    assert set(codes) <= {0, 75}
    assert len(billed(log_of(server))) == 12


def test_the_key_is_in_no_file_and_no_output(tmp_path: Path, start_standin: Any) -> None:
    """The canary is sent to the service and appears nowhere else, failures and debug included."""
    server = start_standin("401:at=4", "500:at=2")
    job = make_job(tmp_path, server.url, images=5)
    log_file = tmp_path / "run.log"
    outputs = []
    for words in (["run"], ["run", "--json"], ["check", "--online"]):
        extra = ["--log-file", log_file, "--log-format", "json"] if words[0] == "run" else []
        done = run_pipeline(words[0], job.config_path, *words[1:], *extra)
        outputs += [done.stdout, done.stderr]
    assert any(line.get("key_sha256") for line in read_log(log_of(server)))
    assert log_file.exists()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in "".join(outputs)


def test_standard_output_that_is_closed_loses_nothing(tmp_path: Path, start_standin: Any) -> None:
    """A reader that has gone away is no fault of the run."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3)
    with pipeline_process("run", job.config_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=PATIENCE_S)
    assert read_results(job.output).num_rows == 3
    assert process.returncode in (0, 1)


def test_log_lines_are_json_where_asked_for(tmp_path: Path, start_standin: Any) -> None:
    """Each line on standard error is one object, with the item of a failure."""
    job = make_job(tmp_path, start_standin().url, images=1)
    job.add_rows(["gone", "gone.jpg", "Gone"])
    done = run_pipeline("run", job.config_path, "--log-format", "json", "--progress", "none")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any(line.get("item_id") == "gone" and line["error_type"] == "image_missing" for line in lines)


def test_environment_and_set_override_the_file(tmp_path: Path, start_standin: Any) -> None:
    """`--set` wins over the environment, that over the file."""
    job = make_job(tmp_path, start_standin().url, images=1)
    env = environment(PIPELINE__API__MAX_TOKENS="111", PIPELINE__IMAGES__QUALITY="70")
    done = run_pipeline("check", job.config_path, "--json", "--set", "images.quality=60", env=env)
    config = json.loads(done.stdout)["config"]
    assert (config["api"]["max_tokens"], config["images"]["quality"]) == (111, 60)


def test_too_few_descriptors_are_found_before_anything_is_sent(tmp_path: Path, start_standin: Any) -> None:
    """The message names the limit and two ways out."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    command = f"ulimit -n 64; exec '{sys.executable}' -m pipeline run '{job.config_path}'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 2
    assert "ulimit -Hn" in done.stderr
    assert answers(log_of(server)) == []


def test_serve_answers_until_it_is_told_to_end(tmp_path: Path) -> None:
    """It prints where it listens, logs what it answers, and ends in good order."""
    log = tmp_path / "answers.jsonl"
    process = pipeline_process("serve", "--port", "0", "--log", log, "--fault", "529:first=1")
    assert process.stderr is not None
    line = process.stderr.readline()
    url = line.split()[-1]
    job = make_job(tmp_path, url, images=2)
    assert run_pipeline("run", job.config_path).returncode == 0
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in stderr
    assert len(billed(log)) == 2
    assert len(answers(log)) == 3


def test_help_is_quick_and_names_every_option() -> None:
    """Help needs none of the heavy libraries."""
    code = (
        "import sys; from pipeline.cli import cli\n"
        "try: cli(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pyarrow', 'PIL', 'httpx', 'pydantic', 'uvicorn', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--set", "--limit", "--sample", "--shard", "--retry-failed", "--only", "--json", "--max-runtime"):
        assert option in done.stdout
