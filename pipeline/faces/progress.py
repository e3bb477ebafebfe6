"""The view of a run while it goes: a bar on a terminal, plain lines elsewhere.

Reads typed counters and the pacer's statistics, and never changes anything.
"""

import logging
import os
import sys
import time
from typing import Literal

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.engines.job import LiveRun, View
from pipeline.engines.totals import Totals
from pipeline.faces.plain import counted, duration, money
from pipeline.limits.pacer import PaceStatistics

__all__ = ["choose_view", "expected_items", "state_line"]

logger = logging.getLogger(__name__)
_BAR_EVERY_S = 0.25
_LINE_AFTER_S = (5.0, 10.0, 15.0, 30.0)
_LINE_EVERY_S = 60.0


def choose_view(mode: Literal["auto", "bar", "log", "none"]) -> View | None:
    """The view of a `--progress` mode; `auto` is a bar where standard error is a terminal that can, else lines."""
    if mode == "none":
        return None
    if mode == "auto":
        mode = "bar" if _can_draw() else "log"
    return show_bar if mode == "bar" else log_lines


def _can_draw() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # it was closed
        return False


async def show_bar(live: LiveRun) -> None:
    """A bar and a line below it, until cancelled or until the terminal is gone."""
    view = Live(
        console=_Console(stderr=True),
        auto_refresh=False,  # its thread would read the counters while they change
        transient=True,
        redirect_stdout=False,
        get_renderable=lambda: _drawn(live, time.monotonic()),
    )
    try:
        with view:
            while True:
                view.refresh()
                await anyio.sleep(_BAR_EVERY_S)
    except (OSError, ValueError) as error:
        logger.info("the bar cannot be drawn any more: %s", error)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Shows nothing more; the library would end the process, and with it a run that is paid for."""
        self.quiet = True


async def log_lines(live: LiveRun) -> None:
    """A log line now and then, until cancelled."""
    for pause in _LINE_AFTER_S:
        await anyio.sleep(pause)
        _log(live)
    while True:
        await anyio.sleep(_LINE_EVERY_S)
        _log(live)


def state_line(live: LiveRun, now: float) -> str:
    """Speed, tokens, money, retries and what limits the run, in one line."""
    totals, pace = live.totals, live.pacer.statistics()
    seconds = max(now - live.started, 1e-6)
    tokens = totals.usage.input_tokens + totals.usage.output_tokens
    parts = [
        f"{totals.images / seconds:.1f} img/s",
        f"{tokens:,} tok",
        money(totals.cost_usd),
        f"{totals.retried} retried",
        f"{totals.failed} failed",
        _in_flight(live.totals, pace),
    ]
    if pace.paused_s > 0:
        parts.append(f"rate limited, {pace.paused_s:.0f} s")
    elif pace.outage:
        parts.append("service down, probing")
    elif pace.binding:
        parts.append(f"{pace.binding} limit {pace.fill:.0%}")
    return " · ".join(parts)


def _in_flight(totals: Totals, pace: PaceStatistics) -> str:
    """Requests, or items of batches: of these the service tells nothing before a batch has ended."""
    if not totals.batches:
        return f"{pace.in_flight}/{pace.places} in flight"
    return f"{counted(totals.batched, 'item')} in {totals.batches} {'batch' if totals.batches == 1 else 'batches'}"


def expected_items(live: LiveRun) -> int | None:
    """How many items the run is about, as far as it is known: exactly once the manifest is read, else by its size."""
    if live.totals.complete or live.rows is None:
        return live.totals.total if live.totals.complete else None
    return max(live.rows, live.totals.total)


def _settled(live: LiveRun) -> int:
    return live.totals.total - live.totals.pending


def _remaining(live: LiveRun, now: float) -> str:
    """Time to the end at the pace so far, of items that were done and not merely skipped; batches tell none."""
    expected, settled = expected_items(live), _settled(live)
    worked = settled - live.totals.skipped
    if expected is None or not worked or expected <= settled or live.totals.batches:
        return ""
    return f"ETA {duration((expected - settled) * (now - live.started) / worked)}"


def _drawn(live: LiveRun, now: float) -> Group:
    expected, settled = expected_items(live), _settled(live)
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    count = f"{settled:,}/{expected:,}" if expected is not None else f"{settled:,}"
    bar = ProgressBar(total=expected, completed=settled, pulse=expected is None)
    row.add_row(count, bar, _remaining(live, now))
    return Group(row, Text(state_line(live, now), style="dim", overflow="ellipsis", no_wrap=True))


def _log(live: LiveRun) -> None:
    now = time.monotonic()
    expected, settled = expected_items(live), _settled(live)
    of = f" of {expected:,}" if expected is not None else ""
    tail = _remaining(live, now)
    logger.info(
        "%s%s settled · %s%s",
        counted(settled, "item"),
        of,
        state_line(live, now),
        f" · {tail}" if tail else "",
        extra={"numbers": {"settled": settled, "expected": expected, "cost_usd": live.totals.cost_usd}},
    )
