"""The three rate limits of one endpoint, and what is learned of requests before they are sent. Pure.

Input is reserved by the patch rule plus a learned ratio of tokens to characters, output by a learned mean (the service
charges what is produced, `max_tokens` plays no part); both are corrected by the answer. Cache reads are free. Each
limit is a bucket of our own, which holds a fraction of a second and so sends smoothly, however strictly the service
enforces it; the rest of a second is left to the wire, on which requests bunch up. What the service says is left of its
own bucket governs how much of the rate is taken (`sharing`).
"""

import math
from dataclasses import dataclass

from pipeline.limits.bucket import Bucket
from pipeline.limits.headers import LimitHeaders
from pipeline.limits.leasing import LaneLease
from pipeline.limits.sharing import Share
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

__all__ = ["BURST_S", "Amounts", "Meters", "Need"]

BURST_S = {"requests": 0.3, "input": 0.3, "output": 0.6}
"""Seconds of its rate that a bucket of ours holds: the service may enforce 60 a minute as one a second. Output is
spread by the answers' latencies, so more of it may be saved up."""
_SETTLE_S = {"requests": 0.3, "input": 0.3, "output": 8.0}
"""How slowly a share follows what is left: output by several latencies, for what is in flight is charged later."""
_COARSE = 2.0
"""A bucket of ours that holds less than so many has no room for the wire's jitter, nor has a strict one there."""
_WIDER, _WIDEST = 0.02, 0.08
_WHOLE = 0.9
"""A request that takes so much of what a strict bucket holds has to find that full: what comes a moment early is
refused, and what comes late is lost. So such requests leave a part of the rate unused from the start."""
_TIGHT_MARGIN = 0.012
_NARROWER = _WIDER / 200
"""What an answer takes back of a margin: in balance with `_WIDER` where one request in two hundred is refused."""
_HARDLY = 1e-6
_DEEP, _DEEPEST_S = 3.0, 15.0
"""A small part of a limit must be saved up for so many requests, at most so long: else what one limit lets through
while another holds a request up is lost."""
_RAMP_S = 60.0
"""A slowed-down rate is back at its whole after so long."""
_TEXT_RATIO_START = 0.3
_MOST_TOKENS_A_CHARACTER = 10.0
_OUTPUT_START = 256
_LEARN = 0.1
_KEYS = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
}

Amounts = dict[str, float]
"""What one request takes of `requests`, `input` and `output`."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request takes, as far as it is known before it is sent.

    Attributes:
        image_tokens: by the patch rule.
        text_chars: characters of system, prompt and history.
        max_tokens: the answer's cap.
        worst_usd: the most that it can cost.
    """

    image_tokens: int
    text_chars: int
    max_tokens: int
    worst_usd: float = 0.0


@dataclass(slots=True)
class _Meter:
    """One limit: the rate that this run may use, our bucket, and what narrows it.

    Attributes:
        margin: the part of the rate that is left unused, so that requests a second apart never arrive closer.
        whole: the rate of all workers of the run, by which the service's bucket is measured; 0 where it is `rate`.
        begun: whether a lease has given it anything yet.
        tight: whether the last request took a strict bucket whole.
    """

    rate: float
    bucket: Bucket
    share: Share
    margin: float = 0.0
    whole: float = 0.0
    begun: bool = False
    tight: bool = False

    def pace(self, ramp: float, now: float) -> None:
        unused = max(self.margin, _TIGHT_MARGIN if self.tight else 0.0)
        self.bucket.pace(self.rate * self.share.factor(tight=self.tight) * (1 - unused) * ramp, now)


class Meters:
    """The limits that are given or have become known."""

    def __init__(self, limits: SettingsLimits, now: float) -> None:
        given = {name: getattr(limits, key) for name, key in _KEYS.items()}
        self._share = limits.share
        self._auto = {name for name, value in given.items() if value == "auto"}
        self._meters: dict[str, _Meter] = {}
        for name, value in given.items():
            if isinstance(value, int | float):
                self._limit(name, value * limits.share, now)
        self._text_ratio = _TEXT_RATIO_START
        self._output_mean = float(_OUTPUT_START)
        self._answers = 0
        self._ramp = 1.0
        self._ramp_at = now

    @property
    def learns(self) -> bool:
        """Whether any limit is to be learned from the headers of answers."""
        return bool(self._auto)

    def amounts(self, need: Need) -> Amounts:
        """What a request is expected to take."""
        return {
            "requests": 1.0,
            "input": need.image_tokens + need.text_chars * self._text_ratio,
            "output": min(float(need.max_tokens), self._output_mean),
        }

    def wait_s(self, amounts: Amounts, now: float) -> tuple[str, float]:
        """The limit that binds, and the seconds until all of them allow the request; empty and 0 where they do now."""
        longest, longest_s = "", 0.0
        for name, meter in self._meters.items():
            # Output is charged when it is there: a request needs no room for it yet, but the bucket must not be near
            # its end.
            room_s = 0.0 if name == "output" else amounts[name] * 60 / (meter.whole or meter.rate)
            wait = max(meter.bucket.wait_s(amounts[name], now), meter.share.wait_s(room_s, now))
            if wait > longest_s:
                longest, longest_s = name, wait
        return longest, longest_s

    def take(self, amounts: Amounts, now: float) -> None:
        """Reserves what a request is expected to take."""
        for name, meter in self._meters.items():
            tight = name != "output" and amounts[name] >= _WHOLE * (meter.whole or meter.rate) / 60
            if tight != meter.tight:
                meter.tight = tight
                meter.pace(self._ramp, now)
            meter.bucket.take(amounts[name], now)

    def correct(self, need: Need, amounts: Amounts, usage: Usage, now: float) -> None:
        """Puts what an answer really took in the place of what was reserved for it, and learns from it."""
        actual = {
            "requests": 1.0,
            "input": min(float(usage.input_tokens + usage.cache_creation_input_tokens), _believable(need)),
            "output": float(min(usage.output_tokens, need.max_tokens)),
        }
        for name, meter in self._meters.items():
            meter.bucket.correct(amounts[name] - actual[name], now)
            meter.margin = max(0.0, meter.margin - _NARROWER)
        self._answers += 1
        self._output_mean += max(_LEARN, 1 / self._answers) * (actual["output"] - self._output_mean)
        text = actual["input"] + usage.cache_read_input_tokens - need.image_tokens
        if need.text_chars and text > 0:
            ratio = min(text / need.text_chars, _MOST_TOKENS_A_CHARACTER)
            self._text_ratio += _LEARN * (ratio - self._text_ratio)

    def adopt(self, said: LimitHeaders, now: float) -> None:
        """Follows what the headers of an answer tell: limits that are left to them, and what is left of each."""
        self._ramp = min(1.0, self._ramp + (now - self._ramp_at) / _RAMP_S)
        self._ramp_at = now
        for name, (limit, remaining) in said.pairs().items():
            if limit and name in self._auto:
                self._limit(name, limit * self._share, now)
            meter = self._meters.get(name)
            if limit and meter is not None and remaining is not None:
                meter.share.told(remaining / limit, now)
        for meter in self._meters.values():
            meter.pace(self._ramp, now)

    def lease(self, lease: LaneLease, now: float) -> None:
        """Follows the part of a run's limits that this worker has; of a new one it has saved nothing up."""
        self._auto = set()
        one_s = 60 / max(lease.rates.get("requests", math.inf), _HARDLY)
        deep_s = min(_DEEPEST_S, _DEEP * one_s)
        for name, rate in lease.rates.items():
            self._limit(name, max(rate, _HARDLY), now, deep_s)
            meter = self._meters[name]
            meter.whole = lease.whole[name]
            if not meter.begun:
                meter.bucket.level = min(meter.bucket.burst, lease.phase * rate * one_s / 60)
                meter.begun = rate > _HARDLY
            meter.pace(self._ramp, now)

    def exhausted(self, said: LimitHeaders, until: float) -> None:
        """A 429 said which limits are used up: their buckets start from nothing once the wait is over."""
        for name, (limit, remaining) in said.pairs().items():
            meter = self._meters.get(name)
            if meter is None or remaining is None:
                continue
            if remaining == 0:
                meter.bucket.drain(until)
            is_near = meter.tight or (meter.bucket.burst < _COARSE and remaining < _COARSE * 60)
            if limit and is_near and remaining < limit:
                meter.margin = min(_WIDEST, meter.margin + _WIDER)

    def slow_down(self, now: float) -> None:
        """A 429 said that usage grows too fast: half the rate, and then slowly up again."""
        self._ramp, self._ramp_at = max(0.1, self._ramp / 2), now
        for meter in self._meters.values():
            meter.pace(self._ramp, now)

    def is_shared(self, name: str) -> bool:
        """Whether others take their part of that limit."""
        meter = self._meters.get(name)
        return meter is not None and meter.share.factor(tight=meter.tight) < 1

    def fill(self, name: str, now: float) -> float:
        """How far that limit is used up, 0 (free, or not known) to 1."""
        meter = self._meters.get(name)
        return 0.0 if meter is None else meter.bucket.fill(now)

    def _limit(self, name: str, rate: float, now: float, deep_s: float = 0.0) -> None:
        meter, burst_s = self._meters.get(name), max(BURST_S[name], deep_s)
        if meter is None:
            self._meters[name] = _Meter(rate, Bucket.full(rate, burst_s, now), Share(_SETTLE_S[name]))
        elif meter.rate != rate:
            meter.rate = rate
            meter.bucket.adopt(rate, burst_s, now)


def _believable(need: Need) -> float:
    """The most input tokens that an answer may claim: a wrong number is not to stop the run for hours."""
    return 4.0 * need.image_tokens + _MOST_TOKENS_A_CHARACTER * need.text_chars + 10_000
