"""The view of a run in a notebook: one line and one bar below the cell, brought up to date in place.

It needs what every kernel of IPython has, and no widgets; where a front end shows no HTML, the line alone is shown.
"""

import sys
import time
from html import escape
from importlib import import_module

import anyio

from pipeline.engines.job import LiveRun
from pipeline.faces.plain import duration
from pipeline.faces.progress import expected_items, state_line

__all__ = ["Progress", "is_notebook", "show_display"]

_EVERY_S = 0.5


def is_notebook() -> bool:
    """Whether a kernel of IPython runs this program; a terminal's IPython is none."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


async def show_display(live: LiveRun) -> None:
    """The line and the bar, until cancelled; what they said last stays below the cell."""
    display = import_module("IPython.display").display  # there, since a kernel runs this program
    handle = display(Progress(live), display_id=True)
    try:
        while True:
            await anyio.sleep(_EVERY_S)
            handle.update(Progress(live))
    finally:
        handle.update(Progress(live))


class Progress:
    """How far a run is, as notebooks show it: HTML, and text for front ends without."""

    def __init__(self, live: LiveRun) -> None:
        now = time.monotonic()
        self.settled = live.totals.total - live.totals.pending
        self.expected = expected_items(live)
        self.line = f"{state_line(live, now)} · {duration(now - live.started)}"

    def __repr__(self) -> str:
        """`12/24 items · 3.0 img/s · ...`."""
        return f"{self._count()} items · {self.line}"

    def _repr_html_(self) -> str:
        known = f' value="{self.settled}" max="{max(self.expected, 1)}"' if self.expected is not None else ""
        return (
            f'<progress style="width:100%"{known} aria-label="items settled"></progress>'
            f"<div><b>{escape(self._count())}</b> items · {escape(self.line)}</div>"
        )

    def _count(self) -> str:
        return f"{self.settled:,}" + (f"/{self.expected:,}" if self.expected is not None else "")
