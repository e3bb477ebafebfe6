"""Deleting what was uploaded."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from support.asking import HEADERS
from support.jobs import Job, make_job, run_pipeline
from support.running import KEY, run

from pipeline.engines.filing import delete_uploads, list_uploads
from pipeline.engines.plan import plan_run
from pipeline.errors import ConfigError, RunStoppedError

pytestmark = pytest.mark.anyio


def file_job(folder: Path, url: str, images: int = 6) -> Job:
    """A job that uploads its pictures."""
    return make_job(folder, url, images, settings={"images": {"transport": "file"}})


async def test_every_upload_is_deleted_at_the_service_and_forgotten(tmp_path: Path, start_standin: Any) -> None:
    """A later run uploads anew, and a second deletion finds nothing."""
    server = start_standin()
    job = file_job(tmp_path, server.url)
    await run(job)
    plan = plan_run(job.config(), KEY)
    assert len(list_uploads(plan)) == server.service.files.uploads == 6
    done = await delete_uploads(plan)
    assert (done.deleted, done.gone) == (6, 0)
    assert list_uploads(plan) == []
    again = await delete_uploads(plan)
    assert (again.deleted, again.gone) == (0, 0)
    await run(job, "prompt.user=Again {{ title }}", accept=True)
    assert server.service.files.uploads == 12


async def test_files_that_are_gone_already_are_told_apart_and_forgotten_too(tmp_path: Path, start_standin: Any) -> None:
    """Somebody else deleted one of them: that is no failure."""
    server = start_standin()
    job = file_job(tmp_path, server.url, images=3)
    await run(job)
    plan = plan_run(job.config(), KEY)
    async with httpx.AsyncClient(base_url=server.url, headers=HEADERS) as client:
        gone = list_uploads(plan)[0].file_id
        assert (await client.delete(f"/v1/files/{gone}")).status_code == 200
    done = await delete_uploads(plan)
    assert (done.deleted, done.gone) == (2, 1)
    assert list_uploads(plan) == []


async def test_a_refused_key_deletes_nothing_and_forgets_nothing(tmp_path: Path, start_standin: Any) -> None:
    """What the service still has stays remembered."""
    server = start_standin(keys=frozenset({KEY["ANTHROPIC_API_KEY"]}))
    job = file_job(tmp_path, server.url, images=2)
    await run(job)
    with pytest.raises(RunStoppedError, match="DELETE /v1/files"):
        await delete_uploads(plan_run(job.config(), {"ANTHROPIC_API_KEY": "another-key-altogether"}))
    assert len(list_uploads(plan_run(job.config(), KEY))) == 2


async def test_the_embedded_endpoint_keeps_no_files(tmp_path: Path) -> None:
    """They went with the run."""
    with pytest.raises(ConfigError, match="embedded"):
        await delete_uploads(plan_run(file_job(tmp_path, "embedded").config(), {}))


def test_the_command_lists_and_deletes(tmp_path: Path, start_standin: Any) -> None:
    """Ids, then how many are gone."""
    server = start_standin()
    job = file_job(tmp_path, server.url, images=2)
    assert run_pipeline("run", job.config_path).returncode == 0
    listed = run_pipeline("files", job.config_path, "list")
    assert listed.stdout.count("file_") == 2
    assert "2 files" in listed.stdout
    assert "2 files deleted" in run_pipeline("files", job.config_path, "delete").stdout
    assert "0 files" in run_pipeline("files", job.config_path, "list").stdout
