"""The rate-limit headers of answers, whatever a server makes of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits.headers import LimitHeaders, parse_limit_headers


def test_reads_all_six_counts() -> None:
    """A typical answer's headers, each in its own field."""
    headers = {
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-input-tokens-limit": "200000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-limit": "80000",
        "anthropic-ratelimit-output-tokens-remaining": "79000",
        "anthropic-ratelimit-tokens-limit": "280000",
        "anthropic-ratelimit-tokens-remaining": "80000",
    }
    assert parse_limit_headers(headers) == LimitHeaders(4000, 3999, 200_000, 0, 80_000, 79_000)


def test_a_server_without_them_says_nothing() -> None:
    """No header, no number."""
    assert parse_limit_headers({"content-type": "application/json"}) == LimitHeaders()


@pytest.mark.parametrize("text", ["", "-5", "1e6", "4000.0", "٣", "unlimited", "9" * 40, "0x10", "1_000"])
def test_what_is_no_count_is_as_good_as_absent(text: str) -> None:
    """An unreadable number is neither believed nor an error."""
    assert parse_limit_headers({"anthropic-ratelimit-requests-limit": text}).requests_limit is None


@given(
    st.dictionaries(
        st.sampled_from(["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-tokens-limit"]), st.text()
    )
)
@settings(deadline=None, max_examples=60)
def test_never_raises(headers: dict[str, str]) -> None:
    """Any text at all is read or ignored."""
    found = parse_limit_headers(headers).requests_limit
    assert found is None or found >= 0
