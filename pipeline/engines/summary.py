"""What a run came to, as one value: for `--json`, for `runs/*.json`, and for the summary that people read."""

from dataclasses import dataclass
from typing import Any

from pipeline.engines.control import Stop
from pipeline.engines.totals import Totals
from pipeline.settings import Config

__all__ = ["RunSummary", "allowed_failures", "summarise"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The end of one run. Each item of the manifest is in exactly one of the five counts of `items`.

    Attributes:
        exit_code: as the command exits.
        reason: why the run ended before the manifest did, or `None`.
        items: `total`, `succeeded`, `failed`, `skipped`, `reused`, `pending`.
        unmended: of the skipped ones, those that failed in earlier runs and have not succeeded since.
        requests: `sent`, `succeeded`, `retried`, `rate_limited`.
        usage: the four token columns.
        seconds: from the start to the last part in its place.
    """

    run_id: str
    fingerprint: str
    exit_code: int
    reason: str | None
    items: dict[str, int]
    unmended: int
    requests: dict[str, int]
    usage: dict[str, int]
    cost_usd: float
    seconds: float
    images_per_second: float
    failures_by_type: dict[str, int]
    output: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order in which they are declared."""
        return {name: getattr(self, name) for name in self.__slots__}


def summarise(
    config: Config, totals: Totals, stop: Stop | None, seconds: float, *, name: tuple[str, str]
) -> RunSummary:
    """The summary of a run.

    Args:
        config: for the output and the failures that are allowed.
        totals: what was counted.
        stop: why it ended early, `None` where it came to its end.
        seconds: how long it took.
        name: run id and fingerprint.
    """
    usage = totals.usage
    ended = _ended(totals, stop)
    return RunSummary(
        run_id=name[0],
        fingerprint=name[1],
        exit_code=ended.exit_code if ended else int(_too_many(config, totals)),
        reason=ended.reason if ended else None,
        items={
            "total": totals.total,
            "succeeded": totals.succeeded,
            "failed": totals.failed,
            "skipped": totals.skipped,
            "reused": totals.reused,
            "pending": totals.pending,
        },
        unmended=totals.unmended,
        requests={
            "sent": totals.sent,
            "succeeded": totals.answered,
            "retried": totals.retried,
            "rate_limited": totals.rate_limited,
        },
        usage={
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_creation_input_tokens": usage.cache_creation_input_tokens,
            "cache_read_input_tokens": usage.cache_read_input_tokens,
        },
        cost_usd=totals.cost_usd,
        seconds=round(seconds, 3),
        images_per_second=round(totals.images / seconds, 3) if seconds > 0 else 0.0,
        failures_by_type=dict(sorted(totals.failures_by_type.items())),
        output=config.output.path,
    )


def _ended(totals: Totals, stop: Stop | None) -> Stop | None:
    """The stop, unless it came after the last item: a deadline that is reached when all is done stops nothing."""
    if stop is not None and stop.exit_code == 4 and totals.complete and not totals.pending:
        return None
    return stop


def allowed_failures(setting: int | str, items: int) -> float:
    """How many of so many items may fail: `limits.max_failures` as a number, or as a share such as `"1%"`."""
    return items * float(setting.removesuffix("%")) / 100 if isinstance(setting, str) else setting


def _too_many(config: Config, totals: Totals) -> bool:
    return totals.failed + totals.unmended > allowed_failures(config.limits.max_failures, totals.total)
