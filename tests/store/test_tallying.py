"""What a killed run left, counted from the parts of its shard."""

from pathlib import Path

import pytest
from support.jobs import CANARY, make_job

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.store.shards import Shard
from pipeline.store.tallying import tally_run

pytestmark = pytest.mark.anyio


async def test_counts_are_those_of_the_run_that_wrote_the_rows(tmp_path: Path, start_standin: object) -> None:
    """Answers, final failures, requests and money of that run and shard, and nothing of any other."""
    server = start_standin("529:first=1")  # type: ignore[operator]
    job = make_job(tmp_path, server.url, images=12)
    job.add_rows(*([f"gone-{number}", f"gone-{number}.jpg", "Gone"] for number in range(6)))
    plan = plan_run(job.config(), {"ANTHROPIC_API_KEY": CANARY})
    runs = [await run_job(plan, RunOptions(Choice(shard=(one, 2)), signals=False)) for one in (1, 2)]
    for index, run in enumerate(runs, start=1):
        found = tally_run(job.output, Shard(index, 2), run.run_id)
        assert (found.succeeded, found.failed.total()) == (run.items["succeeded"], run.items["failed"])
        assert dict(found.failed) == run.failures_by_type
        assert (found.sent, found.answered) == (run.requests["sent"], run.requests["succeeded"])
        assert (found.retried, found.unknown, found.reused) == (run.requests["retried"], 0, 0)
        assert found.images == found.succeeded
        assert found.cost_usd == pytest.approx(run.cost_usd)
        assert found.usage.input_tokens == run.usage["input_tokens"]
    assert tally_run(job.output, Shard(1, 2), runs[1].run_id).sent == 0
