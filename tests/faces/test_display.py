"""The view of a run in a notebook; how a kernel shows it is in `test_notebooks.py`."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support.jobs import make_job
from support.running import plan_of

from pipeline.engines.job import LiveRun
from pipeline.engines.totals import Totals
from pipeline.faces.display import Progress, is_notebook
from pipeline.limits.pacer import Pacer
from pipeline.settings import SettingsLimits


@pytest.fixture
def live(tmp_path: Path) -> LiveRun:
    """A run of twelve rows of which five are settled."""
    totals = Totals(total=7, succeeded=3, failed=1, skipped=1, images=3)
    return LiveRun("run", plan_of(make_job(tmp_path, "embedded", images=1)), totals, Pacer(SettingsLimits()), 12)


def test_it_says_how_far_the_run_is(live: LiveRun) -> None:
    """In words, and as a bar with the same numbers."""
    shown = Progress(live)
    assert re.fullmatch(r"5/12 items · [\d,.]+ img/s · 0 tok · .* 1 failed · .* · \d+\.\d s", repr(shown))
    assert 'value="5" max="12" aria-label="items settled"' in shown._repr_html_()
    assert "<b>5/12</b> items" in shown._repr_html_()


def test_a_manifest_of_unknown_length_has_a_bar_without_an_end(live: LiveRun, tmp_path: Path) -> None:
    """Until it is read to its end; then the number is exact, also if it is none."""
    endless = LiveRun("run", live.plan, live.totals, live.pacer, None)
    assert repr(Progress(endless)).startswith("5 items · ")
    assert '"width:100%" aria-label' in Progress(endless)._repr_html_()
    empty = LiveRun("run", live.plan, Totals(complete=True), live.pacer, None)
    assert 'value="0" max="1"' in Progress(empty)._repr_html_()


@pytest.mark.parametrize(
    ("shell", "found"), [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)]
)
def test_a_notebook_is_where_a_kernel_runs(monkeypatch: pytest.MonkeyPatch, shell: object, found: bool) -> None:
    """Neither a script nor IPython on a terminal is one."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert is_notebook() is found
