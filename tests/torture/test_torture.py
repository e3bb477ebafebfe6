"""A small part of every sweep, with every run of the tests; `make torture` does them at their full numbers."""

from pathlib import Path

import pytest
from torture.sweep import FAULTS, line
from torture.trials import Bench, Fault


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_nothing_is_lost_doubled_or_paid_again(tmp_path: Path, fault: Fault) -> None:
    """Judged against the server's own log; a fault whose tool is absent is skipped visibly."""
    bench = Bench(tmp_path, seed=1, brief=True)
    tally = fault.inflict(bench, fault.brief_trials)
    if tally.is_skipped:
        pytest.skip(tally.notes[0])
    assert tally.trials >= 1
    assert tally.passed == tally.trials, "\n".join([line(fault, tally), *tally.notes])
