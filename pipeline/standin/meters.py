"""The three rate limits of one model class: buckets that refill continuously, and the headers that tell of them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem

__all__ = ["Meters"]

_ANNOUNCED = {"requests": 10_000, "input-tokens": 10_000_000, "output-tokens": 2_000_000}


@dataclass(slots=True)
class _Meter:
    """One bucket: `limit` units a minute, at most `burst` of them at once; `level` is what it holds."""

    limit: int
    burst: float
    level: float
    at: float
    enforced: bool

    def refill(self, now: float) -> None:
        self.level = min(self.burst, self.level + (now - self.at) * self.limit / 60)
        self.at = now

    def take(self, units: float) -> None:
        """Takes units; what comes after pays a debt. A limit that is only announced has none."""
        self.level -= units
        if not self.enforced:
            self.level = max(0.0, self.level)

    @property
    def remaining(self) -> int:
        return max(0, int(self.level * (self.limit / self.burst)))

    @property
    def full_in_s(self) -> float:
        return (self.burst - self.level) * 60 / self.limit


class Meters:
    """The limits of one model class.

    Args:
        options: the rates, and whether answers tell of them.
        clock: seconds that never go back.
    """

    def __init__(self, options: StandinOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._headers = options.limit_headers
        self._meters = {}
        limits = {
            "requests": options.requests_per_minute,
            "input-tokens": options.input_tokens_per_minute,
            "output-tokens": options.output_tokens_per_minute,
        }
        for name, limit in limits.items():
            rate = limit or _ANNOUNCED[name]
            burst = max(1.0, rate * options.burst_s / 60)
            self._meters[name] = _Meter(rate, burst, burst, clock(), limit is not None)

    def admit(self, input_tokens: int) -> None:
        """Charges a request at its start.

        A request larger than a whole bucket passes when that is full, and leaves it in debt.

        Raises:
            Problem: 429, with the seconds until it would pass.
        """
        self._refill()
        needs = {"requests": 1.0, "input-tokens": float(input_tokens), "output-tokens": 1.0}
        waits = {
            name: (min(needs[name], meter.burst) - meter.level) * 60 / meter.limit
            for name, meter in self._meters.items()
            if meter.enforced
        }
        worst = max(waits, key=lambda name: waits[name], default="")
        if worst and waits[worst] > 0:
            headers = {"retry-after": str(max(1, math.ceil(waits[worst]))), "x-should-retry": "true", **self.headers()}
            message = (
                f"This request would exceed your organization's rate limit of {self._meters[worst].limit} "
                f"{worst.replace('-', ' ')} per minute"
            )
            raise Problem(429, message, None, headers)
        self._meters["requests"].take(1)
        self._meters["input-tokens"].take(input_tokens)

    def produced(self, output_tokens: int) -> None:
        """Charges the answer's tokens, when they are there."""
        self._refill()
        self._meters["output-tokens"].take(output_tokens)

    def headers(self) -> dict[str, str]:
        """The rate-limit headers of an answer; resets are when a bucket is full again."""
        if not self._headers:
            return {}
        self._refill()
        told: dict[str, str] = {}
        for name, meter in self._meters.items():
            left = meter.remaining if name == "requests" else round(meter.remaining, -3)
            told |= _three(name, meter.limit, left, meter.full_in_s)
        both = [self._meters["input-tokens"], self._meters["output-tokens"]]
        left = round(sum(meter.remaining for meter in both), -3)
        return told | _three("tokens", sum(meter.limit for meter in both), left, max(meter.full_in_s for meter in both))

    def _refill(self) -> None:
        now = self._clock()
        for meter in self._meters.values():
            meter.refill(now)


def _three(name: str, limit: int, remaining: int, full_in_s: float) -> dict[str, str]:
    reset = datetime.now(UTC) + timedelta(seconds=full_in_s + 1)  # whole seconds, rounded up
    return {
        f"anthropic-ratelimit-{name}-limit": str(limit),
        f"anthropic-ratelimit-{name}-remaining": str(remaining),
        f"anthropic-ratelimit-{name}-reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
    }
