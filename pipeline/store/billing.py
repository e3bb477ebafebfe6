"""What a dataset has cost so far, asked again and again: each part of `requests` is read once."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.buckets import Place
from pipeline.store.parts import Stamp, list_parts, stamp_of
from pipeline.store.schema import Kind
from pipeline.store.tables import read_part
from pipeline.store.waiting import Waiting

__all__ = ["Bill", "RunningBill"]

_COLUMNS = ["input_tokens", "output_tokens", "cost_usd"]


@dataclass(frozen=True, slots=True)
class Bill:
    """Sums over requests; tokens that are not read from or written to a cache."""

    sent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Bill") -> "Bill":
        """Both together."""
        return Bill(
            self.sent + other.sent,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
        )


class RunningBill:
    """The bill of one dataset; not thread-safe."""

    def __init__(self, output: Place) -> None:
        self._output = output
        self._parts: dict[Place, tuple[Stamp | None, Bill]] = {}

    def now(self, waiting: Waiting) -> Bill:
        """The sums over the parts, and over what a run has not yet written to one."""
        self._parts = {path: self._part(path) for path in list_parts(self._output, Kind.REQUESTS)}
        total = Bill(waiting.sent, waiting.input_tokens, waiting.output_tokens, waiting.cost_usd)
        for _, bill in self._parts.values():
            total += bill
        return total

    def _part(self, path: Place) -> tuple[Stamp | None, Bill]:
        stamp = stamp_of(path)
        known = self._parts.get(path)
        return known if known is not None and known[0] == stamp else (stamp, _summed(path))


def _summed(path: Place) -> Bill:
    total = Bill()
    for batch in read_part(path, Kind.REQUESTS, _COLUMNS):
        sums = [
            pc.sum(pc.fill_null(batch[name], pa.scalar(0, batch[name].type)), min_count=0).as_py() for name in _COLUMNS
        ]
        total += Bill(len(batch), sums[0], sums[1], sums[2])
    return total
