"""What a check finds, without sending anything that costs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Job, make_job
from support.raw_server import RawServer, replies, response
from support.running import plan_of
from support.standins import answers

from pipeline.engines.checking import MOST_ITEMS, SAMPLE_ITEMS, CheckReport, run_check

pytestmark = pytest.mark.anyio


async def check(job: Job, *overrides: str, online: bool = False) -> CheckReport:
    """The report of a job."""
    return await run_check(plan_of(job, *overrides), online=online)


def content(folder: Path) -> list[Path]:
    """Everything below a folder."""
    return sorted(folder.rglob("*"))


async def test_a_sound_job_has_no_problems_and_leaves_no_trace(tmp_path: Path, start_standin: Any) -> None:
    """Rows are read, a sample of images is prepared, nothing is sent and nothing is made."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=SAMPLE_ITEMS + 5)
    before = content(tmp_path)
    report = await check(job)
    assert (report.problems, report.rows, report.images) == ([], SAMPLE_ITEMS + 5, SAMPLE_ITEMS)
    assert content(tmp_path) == before
    assert answers(server.options.log) == []


async def test_faults_of_rows_are_found_wherever_they_stand(tmp_path: Path) -> None:
    """In the sample and behind it, at the start of later batches too; images behind the sample are not opened."""
    job = make_job(tmp_path, "embedded", images=2)
    good, bad = "x{},item-000.jpg,T\n", ",item-{}.jpg,T\n"
    with (tmp_path / "photos.csv").open("a") as file:
        for number in range(3000):
            kind = bad if number in (3, 21, 998, 999, 1000, 1019, 1020, 2990) else good
            file.write(kind.format(number))
        file.write("last,gone.jpg,T\n")
    report = await check(job)
    places = [problem.partition("photos.csv:")[2].partition(":")[0] for problem in report.problems]
    assert places == ["7", "25", "1002", "1003", "1004", "1023", "1024", "2994"]
    assert all("the id is empty" in problem for problem in report.problems)
    assert report.rows == 3003


async def test_an_id_that_stands_for_other_images_is_found(tmp_path: Path) -> None:
    """It would fail in the run; a row that merely stands twice is a remark."""
    job = make_job(tmp_path, "embedded", images=2)
    job.add_rows(["item-000", "item-001.jpg", "T"], ["item-001", "item-001.jpg", "T"])
    report = await check(job)
    assert len(report.problems) == 1
    assert "duplicate_id" in report.problems[0]
    assert any("1 rows stand twice" in remark and "photos.csv:5" in remark for remark in report.remarks)


async def test_more_faults_than_the_run_may_have_are_problems(tmp_path: Path) -> None:
    """As many as it may have are remarks, by number or by share of the rows."""
    job = make_job(tmp_path, "embedded", images=3)
    job.add_rows(["gone", "gone.jpg", "T"])
    for allowed, is_problem in (("0", True), ("1", False), ('"25%"', False), ('"24%"', True)):
        report = await check(job, f"limits.max_failures={allowed}")
        assert bool(report.problems) == is_problem, allowed
        assert any("gone: image_missing: " in line for line in report.problems + report.remarks)


async def test_many_faults_are_told_by_the_first_ones_and_a_number(tmp_path: Path) -> None:
    """A manifest that is wrong throughout is not read out in full."""
    job = make_job(tmp_path, "embedded", images=0)
    job.add_rows(*[["", f"{number}.jpg", "T"] for number in range(1234)])
    report = await check(job)
    assert len(report.problems) == 51
    assert report.problems[-1] == "and 1,184 more items with a fault"


async def test_a_long_manifest_is_read_only_so_far_and_says_so(tmp_path: Path) -> None:
    """A check takes seconds, whatever is to be checked."""
    job = make_job(tmp_path, "embedded", images=1, settings={"manifest": {"image_column": ""}})
    (tmp_path / "photos.csv").write_text("id,title\n" + "".join(f"{number},T\n" for number in range(MOST_ITEMS + 5000)))
    report = await check(job)
    assert MOST_ITEMS <= report.rows < MOST_ITEMS + 5000
    assert any("only the first" in remark for remark in report.remarks)
    assert report.problems == []


async def test_warnings_about_images_are_remarks(tmp_path: Path) -> None:
    """A picture that is shrunk a lot, or tiny, is captioned all the same."""
    job = make_job(tmp_path, "embedded", images=1)
    report = await check(job, "images.max_edge=56")
    assert report.problems == []
    assert "item-000: item-000.jpg: shrunk_over_4x" in report.remarks


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("manifest.path=none.csv", "none.csv"),
        ("manifest.image_column=photo", "photo"),
        ("prompt.user={{ titel }}", "titel"),
        ("limits.concurrency=9999999999", "ulimit -Hn"),
    ],
)
async def test_what_would_end_a_run_before_its_start_is_a_problem(tmp_path: Path, override: str, text: str) -> None:
    """What a check passes is what a run does."""
    report = await check(make_job(tmp_path, "embedded", images=1), override)
    assert len(report.problems) == 1
    assert text in report.problems[0]


async def test_an_output_that_cannot_be_is_a_problem(tmp_path: Path) -> None:
    """A file in the way, at any depth."""
    job = make_job(tmp_path, "embedded", images=1)
    for path in ("photos.csv", "photos.csv/deep/er"):
        report = await check(job, f"output.path={tmp_path / path}")
        assert [problem.startswith("output.path: ") for problem in report.problems] == [True]
        assert "photos.csv is not a directory" in report.problems[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
@pytest.mark.parametrize(("mode", "text"), [(0o500, "no permission to write"), (0o000, "Permission denied")])
def test_an_output_without_rights_is_a_problem(tmp_path: Path, mode: int, text: str) -> None:
    """Whether the folder may not be written or not even be looked into."""
    place = tmp_path / "locked"
    place.mkdir()
    tmp_path.chmod(0o755)
    place.chmod(mode)
    os.chown(place, 65_534, 65_534)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from pipeline.engines.checking import CheckReport, _check_output\n"
        "os.chdir(sys.argv[1]); os.setuid(65534); report = CheckReport()\n"
        "_check_output(Path('locked/out'), report); print(report.problems)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert text in done.stdout


async def test_online_the_model_is_looked_up_and_the_key_is_tried(tmp_path: Path, start_standin: Any) -> None:
    """A known model is a remark, an unknown one or a refused key a problem; nothing is asked of the embedded one."""
    server = start_standin(keys=frozenset({"another-key-than-the-canary"}))
    refused = await check(make_job(tmp_path / "refused", server.url, images=1), online=True)
    assert "authentication_error" in refused.problems[0]
    server = start_standin()
    job = make_job(tmp_path / "taken", server.url, images=1)
    assert any("claude-haiku-4-5 is served" in remark for remark in (await check(job, online=True)).remarks)
    unknown = await check(job, "api.model=claude-nobody-9", online=True)
    assert "claude-nobody-9" in unknown.problems[0]
    assert answers(server.options.log) == []
    embedded = await check(make_job(tmp_path / "embedded", "embedded", images=1), online=True)
    assert embedded.problems == []


async def test_a_server_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """Port 9 of this machine: nobody listens."""
    report = await check(make_job(tmp_path, "http://127.0.0.1:9", images=1), online=True)
    assert len(report.problems) == 1
    assert report.problems[0].startswith("api.base_url: ")


@pytest.mark.parametrize(
    ("answer", "remark", "problem"),
    [
        (response(b"<h1>no such page</h1>", "404 Not Found"), "no list of models", ""),
        (response(b"", "405 Method Not Allowed"), "no list of models", ""),
        (response(b"[" * 200_000), "is served", ""),
        (response(b'{"lifecycle": "deprecated"}'), "is served, lifecycle deprecated", ""),
        (response(b"oops", "500 Internal Server Error"), "", "HTTP 500"),
    ],
)
async def test_servers_that_are_odd_about_their_models(
    tmp_path: Path, answer: bytes, remark: str, problem: str
) -> None:
    """Self-hosted servers have no list; what cannot be read is no reason to stop; a server in trouble is told."""
    with RawServer(replies(answer)) as server:
        report = await check(make_job(tmp_path, server.url, images=1), online=True)
    assert [remark in line for line in report.remarks] == [True] * bool(remark)
    assert [problem in line for line in report.problems] == [True] * bool(problem)
