"""`anthropic-ratelimit-*` headers, read tolerantly. Pure.

Every header is optional: self-hosted servers send none. `remaining` of the token limits is rounded to thousands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LimitHeaders", "parse_limit_headers"]


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """The three limits per minute and what remains of each; `None` for what was not said."""

    requests_limit: int | None = None
    requests_remaining: int | None = None
    input_limit: int | None = None
    input_remaining: int | None = None
    output_limit: int | None = None
    output_remaining: int | None = None

    def pairs(self) -> dict[str, tuple[int | None, int | None]]:
        """Limit and remaining by the name of the limit."""
        return {
            "requests": (self.requests_limit, self.requests_remaining),
            "input": (self.input_limit, self.input_remaining),
            "output": (self.output_limit, self.output_remaining),
        }


def parse_limit_headers(headers: Mapping[str, str]) -> LimitHeaders:
    """Reads the headers of an answer; what is missing or unreadable is `None`."""

    def count(name: str) -> int | None:
        text = headers.get(f"anthropic-ratelimit-{name}", "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    return LimitHeaders(
        count("requests-limit"),
        count("requests-remaining"),
        count("input-tokens-limit"),
        count("input-tokens-remaining"),
        count("output-tokens-limit"),
        count("output-tokens-remaining"),
    )
