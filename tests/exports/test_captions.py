"""Which captions an export has."""

from pathlib import Path
from typing import Any

import pytest
from support.jobs import make_job

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.exports.captions import Captions

pytestmark = pytest.mark.anyio


async def test_only_the_newest_fingerprint_is_exported(tmp_path: Path, start_standin: Any) -> None:
    """After a changed prompt, the captions are those of the changed prompt, once each."""
    job = make_job(tmp_path, start_standin().url, images=2)
    key = {"ANTHROPIC_API_KEY": "k"}
    await run_job(plan_run(job.config(), key), RunOptions(signals=False))
    options = RunOptions(accept_new_fingerprint=True, signals=False)
    await run_job(plan_run(job.config("prompt.user=Only {{ title }}"), key), options)
    captions = Captions(job.output)
    assert sorted(one.item_id for one in captions) == sorted(job.ids)
    assert captions.columns() == ["title"]
    assert {one.images for one in captions} == {("item-000.jpg",), ("item-001.jpg",)}
