"""Counters, pace and log lines of many workers, brought together."""

import logging
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.logging_state import logging_kept

from pipeline.engines.ray.gathering import GatheredPace, LogBuffer, summed, with_earlier
from pipeline.engines.totals import Totals
from pipeline.limits.pacer import PaceStatistics
from pipeline.records import Usage
from pipeline.store.tallying import RunTally

COUNTS = st.integers(0, 1000)


@given(
    parts=st.lists(st.builds(Totals, total=COUNTS, succeeded=COUNTS, sent=COUNTS, complete=st.booleans()), max_size=5)
)
@settings(max_examples=40, deadline=None)
def test_sums_are_sums_and_watchers_stay(parts: list[Totals]) -> None:
    """Of every counter; all is read once every worker has read its part."""
    into = Totals(total=7, watchers=[])
    watchers = into.watchers
    found = summed(parts, into=into)
    assert found is into
    assert found.watchers is watchers
    assert (found.total, found.succeeded) == (sum(one.total for one in parts), sum(one.succeeded for one in parts))
    assert found.complete == all(one.complete for one in parts)


def test_what_a_killed_worker_settled_counts_as_done_and_not_as_skipped() -> None:
    """Each item is in exactly one count; what will be taken up anew has its outcome there."""
    last = Totals(total=20, succeeded=5, failed=1, skipped=14, unmended=3, sent=7, complete=True)
    earlier = RunTally(
        succeeded=8, reused=2, failed=Counter({"image_missing": 1}), sent=9, cost_usd=0.5, usage=Usage(10, 1)
    )
    found = with_earlier(last, [earlier], again=False)
    assert (found.succeeded, found.reused, found.failed, found.skipped, found.pending) == (13, 2, 2, 3, 0)
    assert (found.unmended, found.sent, found.cost_usd) == (2, 16, 0.5)
    assert found.failures_by_type == {"image_missing": 1}
    again = with_earlier(last, [earlier], again=True)
    assert (again.failed, again.skipped, again.unmended) == (1, 4, 3)


def test_the_pace_of_all_is_that_of_most() -> None:
    """Requests and places in sum, and the limit that binds most workers."""
    pace = GatheredPace()
    assert pace.statistics() == PaceStatistics(0, 0, "", 0.0, 0.0, False)
    pace.parts = [
        PaceStatistics(1, 4, "input", 0.5, 0.0, False),
        PaceStatistics(2, 4, "input", 1.0, 3.0, True),
        PaceStatistics(3, 4, "requests", 0.1, 0.0, True),
    ]
    assert pace.statistics() == PaceStatistics(6, 12, "input", 0.75, 3.0, False)


def test_log_lines_travel_with_what_they_are_about_and_are_bounded() -> None:
    """A flood is counted; each line is handed out once."""
    buffer, logger = LogBuffer(), logging.getLogger("pipeline.test_gathering")
    said: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record)

    extra: dict[str, Any] = {"item_id": "a", "error_type": "timeout"}
    for number in range(600):
        buffer.handle(logger.makeRecord(logger.name, logging.WARNING, "", 0, "line %d", (number,), None, extra=extra))
    lines = buffer.fetch()
    assert len(lines) == 501
    assert lines[-1].text == "100 more lines are left out"
    assert buffer.fetch() == []
    with logging_kept():
        logging.getLogger("pipeline").addHandler(Ear())
        logging.getLogger("pipeline").setLevel(logging.INFO)
        lines[3].repeat("shard 2/4")
    assert said[0].getMessage() == "shard 2/4: line 3"
    assert said[0].error_type == "timeout"  # type: ignore[attr-defined]
