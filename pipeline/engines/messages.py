"""The engine of `api.mode = "messages"`: the architecture diagram as one function.

::

    manifest ──> wanted ──> preparers ──> ready ──> senders ──> ledger
    (thread)     buffer     (threads)     buffer    (places)    (journal, parts)

A sender takes its place among the requests in flight before it takes an item, so waiting for a limit holds no image
beyond the `ready` buffer.
"""

from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from pipeline.engines.control import RunControl
from pipeline.engines.intake import Stages, count_outcome, feed
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import OutputError, RunStoppedError
from pipeline.limits.pacer import BudgetReachedError, PacerClosedError

__all__ = ["BUDGET_REACHED", "run_messages"]

BUDGET_REACHED = "limits.budget_usd reached; raise it, or run again, to go on"


async def run_messages(stages: Stages, control: RunControl) -> None:
    """Takes every wanted item through the stages; returns when all are settled, or the run was ended and has drained.

    What ends a run is told to `control` and never raised from here.
    """
    with control.everything:
        await feed(stages, control, stages.batches, partial(_send, stages, control), stages.senders)


async def _send(stages: Stages, control: RunControl, ready: MemoryObjectReceiveStream[ReadyItem]) -> None:
    while True:
        try:
            async with stages.pacer.place():
                item = await ready.receive()
                outcome = await stages.captioner.caption(item)
        except (anyio.EndOfStream, PacerClosedError):
            return
        except BudgetReachedError:
            control.end(4, BUDGET_REACHED)
            return
        except (RunStoppedError, OutputError) as error:
            control.end_with(error, sent=True)
            return
        count_outcome(stages.totals, outcome)
