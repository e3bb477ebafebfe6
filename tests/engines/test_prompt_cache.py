"""`prompt.cache` in whole runs: one request writes the shared prefix, the others read it, and the bill is exact."""

from pathlib import Path
from typing import Any

import pytest
from support.configs import config_with
from support.jobs import make_job
from support.pictures import encoded, smooth
from support.running import KEY, run
from support.standins import billed

from pipeline.api.catalogue import Catalogue, cost_usd
from pipeline.engines.plan import plan_run
from pipeline.records import Usage
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
LONG = "Write one sentence. " * 900
"""18,000 characters: about 4,500 tokens, above the 4,096 of Haiku 4.5."""
CREATION, READ = "cache_creation_input_tokens", "cache_read_input_tokens"


async def test_the_first_request_writes_and_all_others_read(tmp_path: Path, start_standin: Any) -> None:
    """With many senders too nobody pays for a second write, since an entry can be read only once an answer began."""
    server = start_standin(latency_s=(0.05, 0.05))
    job = make_job(tmp_path, server.url, images=12, settings={"prompt": {"system": LONG, "cache": True}})
    summary = await run(job, "limits.concurrency=8", "limits.requests_per_minute=off")
    assert summary.exit_code == 0
    bill = billed(server.options.log)
    assert [line[CREATION] > 0 for line in bill] == [True] + [False] * 11
    assert {line[READ] for line in bill[1:]} == {bill[0][CREATION]}
    assert server.service.counts["peak_in_flight"] > 1
    rows = read_results(job.output).to_pylist()
    assert sum(row[CREATION] for row in rows) == bill[0][CREATION]
    assert sum(row[READ] for row in rows) == 11 * bill[0][CREATION]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)


async def test_caching_costs_less_by_the_catalogue_s_rates(tmp_path: Path, start_standin: Any) -> None:
    """A write at 1.25 times the input price, reads at a tenth: to the micro-dollar."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=6, settings={"prompt": {"system": LONG}})
    plain = await run(job)
    cached = await run(job, "prompt.cache=true", f"output.path={tmp_path / 'cached'}")
    prefix = billed(server.options.log)[-1][READ]
    assert prefix > 4096
    model = Catalogue().model("claude-haiku-4-5")
    usage = Usage(plain.usage["input_tokens"] - 6 * prefix, plain.usage["output_tokens"], prefix, 5 * prefix)
    assert cached.cost_usd == pytest.approx(cost_usd(model, usage), abs=1e-9)
    assert cached.cost_usd < plain.cost_usd / 2


async def test_a_failed_first_request_lets_the_next_warm_the_cache(tmp_path: Path, start_standin: Any) -> None:
    """The others do not wait for ever, nor do they all write."""
    server = start_standin("400:at=1")
    job = make_job(tmp_path, server.url, images=6, settings={"prompt": {"system": LONG, "cache": True}})
    summary = await run(job, "limits.concurrency=6", "limits.requests_per_minute=off")
    assert (summary.items["succeeded"], summary.items["failed"]) == (5, 1)
    assert sum(line[CREATION] > 0 for line in billed(server.options.log)) == 1


async def test_examples_are_part_of_what_is_cached(tmp_path: Path, start_standin: Any) -> None:
    """Their images are what makes a prefix long enough; the mark stands on the last of them."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=3, settings={"api": {"model": "claude-sonnet-4-5"}})
    (tmp_path / "shown.jpg").write_bytes(encoded(smooth(1092, 1092)))
    example = f"prompt.examples=[{{image='{tmp_path / 'shown.jpg'}', user='What is it?', assistant='A ramp.'}}]"
    assert (await run(job, example, "prompt.cache=true")).exit_code == 0
    bill = billed(server.options.log)
    assert bill[0][CREATION] == pytest.approx(1521, abs=20)
    assert [line[READ] for line in bill[1:]] == [bill[0][CREATION]] * 2


@pytest.mark.parametrize(
    ("system", "is_marked", "said"),
    [
        ("Be brief.", False, "caching cannot pay, and nothing is marked"),
        ("Be brief. " * 1000, True, "caching may not pay"),
        (LONG, True, None),
    ],
)
def test_check_says_when_caching_cannot_pay(tmp_path: Path, system: str, is_marked: bool, said: str | None) -> None:
    """Below the model's minimum the service caches nothing and says nothing, so the plan does."""
    plan = plan_run(config_with(tmp_path, "prompt.cache=true", f'prompt.system="{system}"'), KEY)
    assert plan.is_cached == is_marked
    assert (b"cache_control" in plan.writers.usual.body([])) == is_marked
    found = [remark for remark in plan.remarks if remark.startswith("prompt.cache: ")]
    assert [said in remark for remark in found] == ([True] if said else [])


def test_nothing_is_marked_unless_asked_for(tmp_path: Path) -> None:
    """A long prompt alone is no reason: writes cost more than plain input."""
    plan = plan_run(config_with(tmp_path, f'prompt.system="{LONG}"'), KEY)
    assert not plan.is_cached
    assert b"cache_control" not in plan.writers.usual.body([])
