"""A worker's side of the leases: tells the office how it stands, goes by what it answers, ends when the run does.

It knows the office as two calls, so that it works over any cluster. An office that does not answer costs nothing while
the last lease holds; after that the worker sends nothing until it answers again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import anyio
from anyio import to_thread

from pipeline.engines.control import RunControl
from pipeline.engines.job import LiveRun
from pipeline.engines.ray.gathering import LogBuffer
from pipeline.engines.ray.office import Answer, Beat
from pipeline.engines.totals import Totals
from pipeline.limits.leasing import VALID_S
from pipeline.limits.pacer import Pacer
from pipeline.store.shards import Shard
from pipeline.store.tallying import RunTally, tally_run

__all__ = ["Lessee", "Tell", "snapshot"]

Tell = Callable[[Beat], Awaitable[Answer | None]]
"""Tells the office how the worker stands; `None` where it was not reached."""
_NEXT_S = 0.2


class Lessee:
    """One worker.

    Args:
        tell: see `Tell`.
        lost: tells that an earlier worker of the shard is dead: its run id, what it spent, requests without an end.
        lines: what it logs.

    Attributes:
        control: of the worker's run, once it has begun.
        spent_usd: what the worker has spent, requests whose end is not known included.
        earlier: what those before it left.
    """

    def __init__(
        self,
        tell: Tell,
        lost: Callable[[str, float, int], Awaitable[None]],
        lines: LogBuffer,
    ) -> None:
        self._tell = tell
        self._lost = lost
        self.control: RunControl | None = None
        self._lines = lines
        self._pacer: Pacer | None = None
        self._ack = 0
        self.totals = Totals()
        self.earlier: list[RunTally] = []

    @property
    def spent_usd(self) -> float:
        """What the worker has spent or may have."""
        return 0.0 if self._pacer is None else self._pacer.budget.spent_usd + self._pacer.budget.reserved_usd

    async def settle(self, live: LiveRun, shard: Shard, runs: tuple[str, ...]) -> None:
        """Counts what killed workers of the shard left, which its start has brought in, and gives back their money."""
        for run_id in runs:
            tally = await to_thread.run_sync(partial(tally_run, live.plan.dataset.output, shard, run_id))
            self.earlier.append(tally)
            await self._lost(run_id, tally.cost_usd, tally.unknown)

    async def renew(self, live: LiveRun) -> None:
        """Tells and hears, until cancelled."""
        if not isinstance(live.pacer, Pacer):
            raise TypeError("a worker's own pacer is wanted")
        self._pacer, self.totals = live.pacer, live.totals
        while True:
            next_s = await self._beat(live, live.pacer)
            await anyio.sleep(next_s)

    async def _beat(self, live: LiveRun, pacer: Pacer) -> float:
        """One beat; the seconds until the next."""
        sent_at = anyio.current_time()
        beat = Beat(
            live.run_id, pacer.report(self._ack), snapshot(live.totals), pacer.statistics(), self._lines.fetch()
        )
        answer = None
        with anyio.move_on_after(VALID_S):
            answer = await self._tell(beat)
        if answer is None:
            return _NEXT_S
        pacer.adopt(answer.lease, sent_at + answer.lease.valid_s)
        self._ack = answer.lease.number
        self._heed(answer)
        return answer.lease.next_s

    def _heed(self, answer: Answer) -> None:
        """Ends the worker's run where the whole run ends."""
        if self.control is None:
            return
        if answer.stop is not None:
            self.control.end(answer.stop.exit_code, answer.stop.reason)
        if answer.at_once:
            self.control.everything.cancel()


def snapshot(totals: Totals) -> Totals:
    """Counters as they are now, without those who watch them."""
    return replace(totals, failures_by_type=totals.failures_by_type.copy(), watchers=[])
