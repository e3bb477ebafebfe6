"""Money in whole runs: a budget is never passed, by the server's own bill, and every answer costs what it should."""

import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.jobs import make_job
from support.running import run
from support.standins import billed

from pipeline.api.catalogue import Catalogue, cost_usd, worst_cost_usd
from pipeline.records import Usage
from pipeline.standin.answer import bill_nano
from pipeline.standin.caching import CacheUse
from pipeline.standin.models import MODELS

pytestmark = pytest.mark.anyio
CATALOGUE = Catalogue()
BUDGETS = 50


@pytest.mark.parametrize("shard", range(5))
async def test_no_budget_is_passed_by_a_cent(tmp_path: Path, start_standin: Any, shard: int) -> None:
    """Random budgets with everything that makes costs uncertain: many in flight, faults, caching, structured answers.

    A run ends for its budget (4) or because nothing is left to do, and its own sum is the server's.
    """
    chance = random.Random(shard)
    server = start_standin("529:share=0.1", "refusal:share=0.05,text=I would", "thinking_only:share=0.1")
    job = make_job(tmp_path, server.url, images=9, settings={"prompt": {"on_truncated": "retry"}})
    long = f"prompt.system={'Write one sentence. ' * 900}"
    schema = "prompt.schema={type='object', properties={caption={type='string', minLength=200}}, required=['caption']}"
    for number in range(BUDGETS // 5):
        budget = round(10 ** chance.uniform(-3.5, -1), 6)
        words = [f"limits.budget_usd={budget}", f"limits.concurrency={chance.choice([1, 3, 8])}"]
        words += chance.choice([[], [long, "prompt.cache=true"], [schema]])
        before = len(billed(server.options.log))
        summary = await run(job, *words, f"output.path={tmp_path / f'out-{number}'}", "limits.max_failures=100%")
        spent = sum(Decimal(str(line["cost_usd"])) for line in billed(server.options.log)[before:])
        assert spent <= Decimal(str(budget)) + Decimal("1e-9"), (number, words)
        assert summary.exit_code in (0, 4)
        assert (summary.items["pending"] > 0) == (summary.exit_code == 4)
        assert summary.cost_usd == pytest.approx(float(spent), abs=1e-9)


counts = st.integers(0, 2_000_000)


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(MODELS)), inputs=st.tuples(counts, counts, counts, counts), out=st.integers(0, 128_000)
)
def test_the_catalogue_bills_what_the_server_bills(name: str, inputs: tuple[int, int, int, int], out: int) -> None:
    """Every kind of token, every model, long prompts too: two tables written apart agree to the nano-dollar."""
    plain, written, hour, read = inputs
    nano = bill_nano(MODELS[name], CacheUse(plain, read, written, hour), out)
    usage = Usage(plain, out, written + hour, read, hour)
    cost = cost_usd(CATALOGUE.model(name), usage)
    assert cost is not None
    assert abs(Fraction(repr(cost)) - Fraction(nano, 10**9)) <= Fraction(3, 4 * 10**9)  # the server cuts quarters off
    assert cost_usd(CATALOGUE.model(name), usage, batch=True) == pytest.approx(cost / 2, rel=1e-12)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(CATALOGUE.names), split=st.lists(st.integers(0, 300_000), min_size=4, max_size=4))
def test_nothing_costs_more_than_was_reserved(name: str, split: list[int]) -> None:
    """However the input is cut into plain, written and read, the worst price covers it."""
    plain, five, hour, read = split
    model = CATALOGUE.model(name)
    cost = cost_usd(model, Usage(plain, 300, five + hour, read, hour))
    worst = worst_cost_usd(model, sum(split), 300)
    assert cost is not None
    assert worst is not None
    assert cost <= worst + 1e-12
