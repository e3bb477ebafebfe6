"""Which captions an export has."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.datasets import answered, write_run
from support.jobs import make_job

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.exports.captions import Captions
from pipeline.store.reviews import Review, ReviewWriter, Verdict

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


def test_reviews_are_applied_unless_they_are_not_wanted(tmp_path: Path) -> None:
    """Edited captions stand for the answered ones, rejected ones are left out; those of other fingerprints are not."""
    write_run(tmp_path, [answered("a"), answered("b"), answered("c")])
    writer, when = ReviewWriter(tmp_path), datetime(2026, 5, 1, tzinfo=UTC)
    writer.add(Review("a", "f1", Verdict.EDITED, "ada", when, "better"))
    writer.add(Review("b", "f1", Verdict.REJECTED, "ada", when))
    writer.add(Review("c", "f0", Verdict.REJECTED, "ada", when))
    assert {one.item_id: one.text for one in Captions(tmp_path)} == {"a": "better", "c": "caption of c"}
    every = {one.item_id: one.text for one in Captions(tmp_path, reviewed=False)}
    assert every == {name: f"caption of {name}" for name in "abc"}
