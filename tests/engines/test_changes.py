"""`manifest.changed = "detect"` in whole runs: what changed is asked about again, what did not is not."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.jobs import Job, make_job
from support.pictures import encoded, smooth
from support.standins import answers

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.summary import RunSummary
from pipeline.standin.server import StandinServer
from pipeline.store.parts import list_parts
from pipeline.store.read import dataset_status, read_results
from pipeline.store.schema import Kind

pytestmark = pytest.mark.anyio
DETECT = "manifest.changed=detect"


async def run(job: Job, *overrides: str) -> RunSummary:
    """One run of a job in this process."""
    return await run_job(plan_run(job.config(*overrides), {"ANTHROPIC_API_KEY": "test-key"}), RunOptions(signals=False))


def asked(server: StandinServer) -> int:
    """How many requests the server has answered."""
    assert server.options.log is not None
    return len(answers(server.options.log))


def repaint(job: Job, item: str, seed: int = 77) -> None:
    """Other bytes at an item's path."""
    (job.folder / f"{item}.jpg").write_bytes(encoded(smooth(320, 250, seed), quality=80))


async def test_what_changed_is_captioned_anew_and_has_one_row(tmp_path: Path, start_standin: Any) -> None:
    """The new row is about the new bytes; nothing is sent for the others, nor by a third run."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=6)
    await run(job)
    repaint(job, "item-002")
    summary = await run(job, DETECT)
    assert (summary.exit_code, summary.items["succeeded"], summary.items["skipped"]) == (0, 1, 5)
    assert asked(server) == 7
    parts = [pq.ParquetFile(part).read() for part in list_parts(job.output, Kind.RESULTS)]
    assert sorted(row for part in parts for row in part["item_id"].to_pylist()) == sorted(job.ids)
    for row in read_results(job.output).to_pylist():
        assert row["images"][0]["sent_sha256"][:12] in row["caption"]
    again = await run(job, DETECT)
    assert (again.items["skipped"], again.requests["sent"]) == (6, 0)


async def test_without_detect_other_bytes_are_the_same_item(tmp_path: Path, start_standin: Any) -> None:
    """`ignore`, the default, looks at ids alone."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    await run(job)
    repaint(job, "item-000")
    assert (await run(job)).requests["sent"] == 0


async def test_an_image_that_is_gone_has_not_changed(
    tmp_path: Path, start_standin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its caption stays, no failure is written, and the log says so."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3)
    await run(job)
    (tmp_path / "item-001.jpg").unlink()
    summary = await run(job, DETECT)
    assert (summary.exit_code, summary.items["skipped"]) == (0, 3)
    (line,) = [record for record in caplog.records if "taken as unchanged" in record.message]
    assert vars(line)["item_id"] == "item-001"


async def test_a_changed_image_that_fails_keeps_its_old_caption_and_is_named(
    tmp_path: Path, start_standin: Any
) -> None:
    """The old row stays, the failure is the item's newest row, and a later success takes the old row's place."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=2)
    await run(job)
    (tmp_path / "item-000.jpg").write_bytes(b"\xff\xd8\xff no picture")
    summary = await run(job, DETECT)
    assert (summary.exit_code, summary.items["failed"]) == (1, 1)
    assert read_results(job.output).num_rows == 2
    assert dataset_status(job.output).failed == 1
    repaint(job, "item-000")
    assert (await run(job, DETECT)).exit_code == 0
    assert dataset_status(job.output).failed == 0
    assert read_results(job.output).num_rows == 2


async def test_a_refused_change_is_not_asked_about_again(tmp_path: Path, start_standin: Any) -> None:
    """The failure was about these bytes, so they are no change any more."""
    server = start_standin("refusal:at=3")
    job = make_job(tmp_path, server.url, images=2)
    await run(job)
    repaint(job, "item-001")
    assert (await run(job, DETECT)).items["failed"] == 1
    before = asked(server)
    assert (await run(job, DETECT)).items["skipped"] == 2
    assert asked(server) == before


async def test_new_rows_are_captioned_beside_changed_ones(tmp_path: Path, start_standin: Any) -> None:
    """In the same run, each paid for once."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=4)
    await run(job, "output.rows_per_file=2")
    for item in ("item-000", "item-003"):
        repaint(job, item, seed=int(item[-1]))
    job.add_rows(["new", "item-001.jpg", "New"])
    summary = await run(job, DETECT, "output.rows_per_file=2")
    assert (summary.items["succeeded"], summary.items["skipped"], summary.requests["sent"]) == (3, 2, 3)
    assert sorted(read_results(job.output)["item_id"].to_pylist()) == sorted([*job.ids, "new"])
