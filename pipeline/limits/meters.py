"""The three rate limits of one endpoint, and what is learned of requests before they are sent. Pure.

Input is reserved by the patch rule plus a learned ratio of tokens to characters, output by a learned mean (the service
charges what is produced, `max_tokens` plays no part); both are corrected by the answer. Cache reads are free.
"""

from dataclasses import dataclass

from pipeline.limits.bucket import Bucket
from pipeline.limits.headers import LimitHeaders
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

__all__ = ["BURST_S", "Amounts", "Meters", "Need"]

BURST_S = 0.5
"""Half a second of the rate: the service may enforce 60 a minute as one a second."""
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


class Meters:
    """The buckets of the limits that are given or have become known."""

    def __init__(self, limits: SettingsLimits, now: float) -> None:
        given = {name: getattr(limits, key) for name, key in _KEYS.items()}
        self._share = limits.share
        self._auto = {name for name, value in given.items() if value == "auto"}
        self._buckets = {
            name: Bucket.full(value * limits.share, BURST_S, now)
            for name, value in given.items()
            if isinstance(value, int | float)
        }
        self._text_ratio = _TEXT_RATIO_START
        self._output_mean = float(_OUTPUT_START)

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
        waits = {name: bucket.wait_s(amounts[name], now) for name, bucket in self._buckets.items()}
        longest = max(waits, key=lambda name: waits[name], default="")
        return (longest, waits[longest]) if longest and waits[longest] > 0 else ("", 0.0)

    def take(self, amounts: Amounts, now: float) -> None:
        """Reserves what a request is expected to take."""
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name], now)

    def correct(self, need: Need, amounts: Amounts, usage: Usage, now: float) -> None:
        """Puts what an answer really took in the place of what was reserved for it, and learns from it."""
        actual = {
            "requests": 1.0,
            "input": float(usage.input_tokens + usage.cache_creation_input_tokens),
            "output": float(usage.output_tokens),
        }
        for name, bucket in self._buckets.items():
            bucket.correct(amounts[name] - actual[name], now)
        self._output_mean += _LEARN * (usage.output_tokens - self._output_mean)
        text = actual["input"] + usage.cache_read_input_tokens - need.image_tokens
        if need.text_chars and text > 0:
            ratio = min(text / need.text_chars, _MOST_TOKENS_A_CHARACTER)
            self._text_ratio += _LEARN * (ratio - self._text_ratio)

    def adopt(self, said: LimitHeaders, now: float) -> None:
        """Follows the limits that the headers of an answer tell, where the configuration leaves them to it."""
        limits = {"requests": said.requests_limit, "input": said.input_limit, "output": said.output_limit}
        for name, limit in limits.items():
            if name not in self._auto or not limit:
                continue
            rate = limit * self._share
            bucket = self._buckets.get(name)
            if bucket is None:
                self._buckets[name] = Bucket.full(rate, BURST_S, now)
            elif bucket.per_minute != rate:
                bucket.adopt(rate, BURST_S, now)

    def exhausted(self, said: LimitHeaders, until: float) -> None:
        """A 429 said which limits are used up: their buckets start from nothing once the wait is over."""
        left = {"requests": said.requests_remaining, "input": said.input_remaining, "output": said.output_remaining}
        for name, bucket in self._buckets.items():
            if left[name] == 0:
                bucket.drain(until)

    def fill(self, name: str, now: float) -> float:
        """How far that limit is used up, 0 (free, or not known) to 1."""
        bucket = self._buckets.get(name)
        return 0.0 if bucket is None else bucket.fill(now)
