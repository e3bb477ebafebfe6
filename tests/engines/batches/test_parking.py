"""Whoever is asked where nobody may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.jobs import CANARY, make_job
from support.open_runs import open_run
from support.standins import answers

from pipeline.api.client import Question
from pipeline.engines.batches.parking import ParkedError, Parking
from pipeline.engines.captioning import Captioner
from pipeline.engines.carrying import Carrier
from pipeline.errors import PipelineError
from pipeline.limits.meters import Need
from pipeline.store.batches import standing_of

pytestmark = pytest.mark.anyio


async def test_every_question_is_parked_as_it_is() -> None:
    """Whoever catches it has the question, and no item yet; the message names the item alone."""
    question = Question("item-1", 2, CANARY.encode(), Need(1, 2, 3, 0.5), 4)
    for _ in range(2):
        with pytest.raises(ParkedError) as raised:
            await Parking().ask(question)
        assert raised.value.question is question
        assert raised.value.ready is None
        assert str(raised.value) == "item-1"
        assert CANARY not in repr(raised.value.question)


def test_a_parked_question_is_no_failure() -> None:
    """Nothing that settles items or ends runs takes it for an error of theirs."""
    assert not issubclass(ParkedError, PipelineError)


async def test_a_captioner_parks_an_item_with_its_question_and_settles_nothing(
    tmp_path: Path, start_standin: Callable[..., Any]
) -> None:
    """The item is as the question has it; nobody is asked, and the item stays open."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1)
    async with open_run(job) as run:
        stages, plan = run.stages, run.opened.plan
        ((key, item),) = next(stages.batches)
        ready = await stages.preparer.prepare(key, item)
        captioner = Captioner(Parking(), stages.ledger, plan, Carrier(stages.preparer), warms=False)
        with pytest.raises(ParkedError) as raised:
            await captioner.caption(ready)
        assert raised.value.ready == ready
        assert (raised.value.question.item_id, raised.value.question.turn) == ("item-000", 1)
        assert not stages.ledger.has_written
        assert await stages.ledger.ask(lambda journal: standing_of(journal, key, plan.fingerprint)) is None
    assert answers(server.options.log) == []
