"""When `api.mode = "auto"` uses batches, and when it turns to `messages`. Pure.

A batch is answered within 24 hours, most within one (the reference's section 7.2), and nothing tells how far it is. So
batches are used where the deadline leaves them an hour beside the time that is kept for asking by itself: a quarter of
the whole, at most six hours. When that time comes, what is in flight is canceled and asked through `messages`.
"""

from typing import Literal

from pipeline.durations import parse_duration
from pipeline.settings import SettingsApi

__all__ = ["chosen_mode", "switch_after_s"]

_BATCH_S = 3600.0
_KEPT_SHARE = 0.25
_MOST_KEPT_S = 6 * 3600.0


def switch_after_s(deadline_s: float, elapsed_s: float = 0.0, *, batch_s: float = _BATCH_S) -> float:
    """Seconds from now until everything is asked through `messages`; 0 for at once.

    Args:
        deadline_s: `api.deadline`, from the start of the job.
        elapsed_s: since then: a run that goes on with batches of an earlier one has its start.
        batch_s: what a batch needs to be worth its while.
    """
    kept = min(_KEPT_SHARE * deadline_s, _MOST_KEPT_S)
    left = deadline_s - elapsed_s - kept
    in_flight = elapsed_s > 0
    return max(0.0, left) if in_flight or left >= batch_s else 0.0


def chosen_mode(api: SettingsApi) -> Literal["messages", "batches"]:
    """By which a run that starts now would ask."""
    if api.mode != "auto" or api.deadline is None:
        return "batches" if api.mode == "batches" else "messages"
    return "batches" if switch_after_s(parse_duration(api.deadline)) > 0 else "messages"
