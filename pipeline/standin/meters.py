"""The three rate limits of one model class: buckets that refill continuously, and the headers that tell of them."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem

__all__ = ["Meters"]

_ANNOUNCED = {"requests": 10_000, "input-tokens": 10_000_000, "output-tokens": 2_000_000}


@dataclass(slots=True)
class _Meter:
    limit: int
    burst: float
    level: float
    at: float
    enforced: bool

    def refill(self, now: float) -> None:
        self.level = min(self.burst, self.level + (now - self.at) * self.limit / 60)
        self.at = now

    @property
    def remaining(self) -> int:
        return max(0, int(self.level * (self.limit / self.burst)))


class Meters:
    """The limits of one model class."""

    def __init__(self, options: StandinOptions) -> None:
        now = time.monotonic()
        limits = {
            "requests": options.requests_per_minute,
            "input-tokens": options.input_tokens_per_minute,
            "output-tokens": options.output_tokens_per_minute,
        }
        self._headers = options.limit_headers
        self._meters = {}
        for name, limit in limits.items():
            rate = limit or _ANNOUNCED[name]
            burst = max(1.0, rate * options.burst_s / 60)
            self._meters[name] = _Meter(rate, burst, burst, now, limit is not None)

    def admit(self, input_tokens: int) -> None:
        """Charges a request at its start.

        Raises:
            Problem: 429, with the seconds until it would pass.
        """
        now = time.monotonic()
        needs = {"requests": 1.0, "input-tokens": float(input_tokens), "output-tokens": 1.0}
        wait = 0.0
        for name, meter in self._meters.items():
            meter.refill(now)
            if meter.enforced and meter.level < min(needs[name], meter.burst):
                wait = max(wait, (min(needs[name], meter.burst) - meter.level) * 60 / meter.limit)
        if wait > 0:
            headers = {"retry-after": str(max(1, math.ceil(wait))), "x-should-retry": "true", **self.headers()}
            raise Problem(429, "This request would exceed the rate limit of your organization", None, headers)
        self._meters["requests"].level -= 1
        self._meters["input-tokens"].level -= input_tokens

    def produced(self, output_tokens: int) -> None:
        """Charges the answer's tokens."""
        meter = self._meters["output-tokens"]
        meter.refill(time.monotonic())
        meter.level -= output_tokens

    def headers(self) -> dict[str, str]:
        """The rate-limit headers of an answer."""
        if not self._headers:
            return {}
        said = {}
        for name, meter in self._meters.items():
            left = meter.remaining if name == "requests" else round(meter.remaining, -3)
            full = datetime.now(UTC) + timedelta(seconds=(meter.burst - meter.level) * 60 / meter.limit)
            said[f"anthropic-ratelimit-{name}-limit"] = str(meter.limit)
            said[f"anthropic-ratelimit-{name}-remaining"] = str(left)
            said[f"anthropic-ratelimit-{name}-reset"] = f"{full:%Y-%m-%dT%H:%M:%SZ}"
        both = [self._meters["input-tokens"], self._meters["output-tokens"]]
        said["anthropic-ratelimit-tokens-limit"] = str(sum(meter.limit for meter in both))
        said["anthropic-ratelimit-tokens-remaining"] = str(round(sum(meter.remaining for meter in both), -3))
        said["anthropic-ratelimit-tokens-reset"] = said["anthropic-ratelimit-output-tokens-reset"]
        return said
