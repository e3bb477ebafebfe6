"""Runs of requests that were answered, refused and lost over time, written by the real ledger."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pipeline.records import Attempt
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from support.datasets import MOMENT, paid, with_ledger

__all__ = ["attempt_at", "eventful_run", "write_attempts"]


def attempt_at(seconds: float, status: int | None = 200, duration_ms: float = 100.0) -> Attempt:
    """A request that was sent so long after `MOMENT`; one that was answered cost half a dollar."""
    attempt = paid(f"item-{seconds}-{status}", status=status)
    return replace(attempt, started_at=MOMENT + timedelta(seconds=seconds), duration_ms=duration_ms)


def write_attempts(output: Path, attempts: Sequence[Attempt], run_id: str = "run-1") -> None:
    """A run that sent these requests and settled nothing."""

    async def body(ledger: Ledger) -> None:
        for attempt in attempts:
            await ledger.arrive(ledger.depart(attempt.item_id, 1, 1, attempt.started_at), attempt)

    with_ledger(output, body, RunIdentity(run_id, "f1"))


def eventful_run(output: Path, run_id: str, begin_s: float, seconds: float, count: int = 240) -> None:
    """Requests that speed up, meet limits and failures in the middle, and pause before the end."""
    attempts = []
    for number in range(count):
        part = (number / count) ** 0.7
        if 0.7 < part < 0.85:
            continue
        status = 429 if 0.4 < part < 0.55 and number % 3 else 500 if number % 23 == 5 else 200
        attempts.append(attempt_at(begin_s + part * seconds, status, 900 + 300 * (number % 7) + 900 * part))
    write_attempts(output, attempts, run_id)
