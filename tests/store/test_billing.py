"""What a dataset has cost so far."""

from pathlib import Path

from support.datasets import answered, caption_all, with_ledger, write_run

from pipeline.store.billing import RunningBill
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from pipeline.store.read import dataset_status
from pipeline.store.waiting import look


def test_every_request_is_counted_once_wherever_its_row_is(tmp_path: Path) -> None:
    """In the journal while a run goes, in parts afterwards; then it is what `status` says."""
    write_run(tmp_path, [answered("a")])
    bill = RunningBill(tmp_path)

    async def body(ledger: Ledger) -> None:
        assert bill.now(look(tmp_path)).sent == 1
        await caption_all(ledger, [answered("b"), answered("c")])
        now = bill.now(look(tmp_path))
        assert (now.sent, now.cost_usd, now.input_tokens, now.output_tokens) == (3, 1.5, 30, 6)

    with_ledger(tmp_path, body, RunIdentity("run-2", "f1"))
    status, now = dataset_status(tmp_path), bill.now(look(tmp_path))
    assert (now.sent, now.cost_usd) == (status.requests.sent, status.cost_usd) == (3, 1.5)
