"""Three buckets together: what is reserved, corrected, learned and adopted."""

import pytest

from pipeline.limits.headers import LimitHeaders
from pipeline.limits.meters import Meters, Need
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

NEED = Need(image_tokens=1000, text_chars=400, max_tokens=300)


def metered(**limits: object) -> Meters:
    """Meters whose limits that are not named are off."""
    keys = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
    return Meters(SettingsLimits(**{**dict.fromkeys(keys, "off"), **limits}), 0.0)  # type: ignore[arg-type]


def test_the_slowest_limit_binds_and_is_named() -> None:
    """The wait is the longest of the three, with the name of its limit."""
    meters = metered(requests_per_minute=12_000, input_tokens_per_minute=120_000)
    amounts = meters.amounts(NEED)
    assert meters.wait_s(amounts, 0.0) == ("", 0.0)
    meters.take(amounts, 0.0)
    name, wait = meters.wait_s(amounts, 0.0)
    assert name == "input"
    assert wait == pytest.approx(amounts["input"] / 2000)


def test_the_share_is_taken_of_given_and_of_learned_limits() -> None:
    """Half the account's limit means half the rate, wherever the number came from."""
    given = metered(requests_per_minute=240, share=0.5)
    learned = metered(requests_per_minute="auto", share=0.5)
    learned.adopt(LimitHeaders(requests_limit=240), 0.0)
    for meters in (given, learned):
        meters.take({"requests": 1.0, "input": 0.0, "output": 0.0}, 0.0)
        assert meters.wait_s({"requests": 1.0, "input": 0.0, "output": 0.0}, 0.0)[1] == pytest.approx(0.5)


def test_an_answer_puts_what_it_took_in_the_place_of_the_estimate() -> None:
    """Input that was overestimated is given back, output that was underestimated is owed."""
    meters = metered(input_tokens_per_minute=600_000, output_tokens_per_minute=60_000)
    amounts = meters.amounts(NEED)
    meters.take(amounts, 0.0)
    meters.correct(NEED, amounts, Usage(input_tokens=500, output_tokens=300), 0.0)
    assert meters.fill("input", 0.0) == pytest.approx(500 / 3000)
    assert meters.wait_s({"requests": 1, "input": 0, "output": 600}, 0.0) == ("output", pytest.approx(0.3))


def test_cache_reads_are_free_and_cache_writes_are_not() -> None:
    """The input limit counts what is read afresh or written to the cache, not what is read from it."""
    meters = metered(input_tokens_per_minute=600_000)
    amounts = {"requests": 1.0, "input": 0.0, "output": 0.0}
    usage = Usage(input_tokens=100, cache_creation_input_tokens=400, cache_read_input_tokens=1_000_000)
    meters.correct(NEED, amounts, usage, 0.0)
    assert meters.fill("input", 0.0) == pytest.approx(500 / 3000)


def test_learns_what_text_and_answers_really_take() -> None:
    """After some answers the estimate is within five percent of them, from far off at the start."""
    meters = metered()
    for _ in range(60):
        meters.correct(NEED, meters.amounts(NEED), Usage(input_tokens=1000 + 400 // 2, output_tokens=80), 0.0)
    amounts = meters.amounts(NEED)
    assert amounts["input"] == pytest.approx(1200, rel=0.05)
    assert amounts["output"] == pytest.approx(80, rel=0.05)


def test_the_expected_output_is_never_above_the_cap() -> None:
    """A request that may answer with ten tokens reserves ten."""
    assert metered().amounts(Need(0, 0, 10))["output"] == 10


def test_one_absurd_usage_cannot_spoil_the_estimate_or_stop_the_run() -> None:
    """Counts of a trillion tokens move ratio and mean by their bounds alone, and are paid off in seconds."""
    meters = metered(input_tokens_per_minute=600_000, output_tokens_per_minute=60_000)
    amounts = meters.amounts(NEED)
    meters.take(amounts, 0.0)
    meters.correct(NEED, amounts, Usage(input_tokens=10**12, output_tokens=10**12), 0.0)
    assert meters.amounts(NEED)["input"] <= 1000 + 400 * 1.3
    assert meters.amounts(NEED)["output"] <= 300
    assert meters.wait_s(amounts, 0.0)[1] < 5


def test_the_first_answer_tells_what_answers_take() -> None:
    """A run that is bound by its output limit does not crawl for minutes by a wrong first guess."""
    meters = metered()
    meters.correct(NEED, meters.amounts(NEED), Usage(input_tokens=1000, output_tokens=20), 0.0)
    assert meters.amounts(NEED)["output"] == 20


def test_takes_less_of_a_limit_as_the_service_has_less_left() -> None:
    """The refill follows what remains: all of the rate while much does, half of it and less when it runs dry."""
    meters = metered(requests_per_minute=1200)
    one = {"requests": 1.0, "input": 0.0, "output": 0.0}
    waits = []
    for remaining in (1200, 600, 260, 60):
        for step in range(100):
            now = 100.0 * len(waits) + step
            meters.adopt(LimitHeaders(requests_limit=1200, requests_remaining=remaining), now)
        for _ in range(1000):
            meters.take(one, now)
        debt = meters.wait_s(one, now)[1]
        meters.correct(NEED, {**one, "requests": 1e9}, Usage(), now)
        waits.append(debt)
    assert waits[0] == pytest.approx(waits[1], rel=0.02)
    assert waits[2] == pytest.approx(2 * waits[0], rel=0.3)
    assert waits[3] > 5 * waits[0]
    assert meters.is_shared("requests")


def test_a_ramp_refusal_halves_the_rate_and_it_comes_back_slowly() -> None:
    """Usage that grew too fast starts again at half, and is whole a minute later."""
    meters = metered(requests_per_minute=600)
    one = {"requests": 1.0, "input": 0.0, "output": 0.0}
    meters.take({**one, "requests": 3.0}, 0.0)
    meters.slow_down(0.0)
    assert meters.wait_s(one, 0.0)[1] == pytest.approx(0.2)
    meters.adopt(LimitHeaders(), 60.0)
    meters.take({**one, "requests": 3.0}, 60.0)
    assert meters.wait_s(one, 60.0)[1] == pytest.approx(0.1)


def test_a_request_that_takes_a_strict_bucket_whole_leaves_a_little_of_the_rate() -> None:
    """A hundredth: what comes a moment early is refused. Half as large ones leave none."""
    for rate, wait in ((60, 1 / 0.988), (120, 0.5)):
        meters = metered(requests_per_minute=rate)
        meters.take({"requests": 1.0, "input": 0.0, "output": 0.0}, 0.0)
        assert meters.wait_s({"requests": 1.0, "input": 0.0, "output": 0.0}, 0.0)[1] == pytest.approx(wait)
    meters = metered(input_tokens_per_minute=60_000)
    meters.take({"requests": 1.0, "input": 1000.0, "output": 0.0}, 0.0)
    assert meters.wait_s({"requests": 1.0, "input": 300.0, "output": 0.0}, 0.0)[1] == pytest.approx(1 / 0.988)


def test_answers_take_back_what_refusals_widened() -> None:
    """One refusal in two hundred keeps the margin where it is; none lets it go."""
    meters = metered(requests_per_minute=60)
    one = {"requests": 1.0, "input": 0.0, "output": 0.0}
    meters.take(one, 0.0)
    meters.exhausted(LimitHeaders(requests_limit=60, requests_remaining=58), 0.0)
    waits = []
    for now in (10.0, 1e3, 2e3):
        meters.adopt(LimitHeaders(), now)
        meters.take(one, now)
        waits.append(meters.wait_s(one, now)[1])
        for _ in range(100):
            meters.correct(NEED, one, Usage(), now)
    assert waits[0] == pytest.approx(1 / 0.98)
    assert waits == sorted(waits, reverse=True)
    assert waits[2] == pytest.approx(1 / 0.988)


def test_refusals_of_requests_a_second_apart_space_them_wider() -> None:
    """Where a strict bucket holds one request, the wire's jitter is learned, up to a twelfth of the rate."""
    meters = metered(requests_per_minute=60)
    one = {"requests": 1.0, "input": 0.0, "output": 0.0}
    for _ in range(20):
        meters.exhausted(LimitHeaders(requests_limit=60, requests_remaining=58), 0.0)
    meters.adopt(LimitHeaders(), 0.0)
    meters.take(one, 0.0)
    assert 1.08 <= meters.wait_s(one, 0.0)[1] <= 1.1


def test_only_limits_left_to_auto_follow_the_headers() -> None:
    """A number that the user gave, or `off`, stays whatever the service announces."""
    meters = metered(requests_per_minute=120, input_tokens_per_minute="auto")
    assert meters.learns
    meters.adopt(LimitHeaders(requests_limit=6000, input_limit=6000, output_limit=6), 0.0)
    meters.take({"requests": 1.0, "input": 50.0, "output": 1e6}, 0.0)
    assert meters.wait_s({"requests": 1.0, "input": 0.0, "output": 1e6}, 0.0) == ("requests", pytest.approx(0.5))
    assert meters.wait_s({"requests": 0.0, "input": 50.0, "output": 0.0}, 0.0) == ("input", pytest.approx(0.5))


def test_follows_a_limit_that_changes() -> None:
    """The next answer's headers replace the last one's."""
    meters = metered(requests_per_minute="auto")
    one = {"requests": 1.0, "input": 0.0, "output": 0.0}
    for limit, wait in ((180, 1 / 3), (120, 0.5)):
        meters.adopt(LimitHeaders(requests_limit=limit), 0.0)
        meters.correct(NEED, {"requests": 1e9, "input": 0, "output": 0}, Usage(), 0.0)
        meters.take(one, 0.0)
        assert meters.wait_s(one, 0.0)[1] == pytest.approx(wait)


def test_what_a_429_calls_used_up_starts_from_nothing_after_the_pause() -> None:
    """Only the limit that has nothing left is drained, and until the moment given."""
    meters = metered(requests_per_minute=600, input_tokens_per_minute=600_000)
    meters.exhausted(LimitHeaders(requests_remaining=10, input_remaining=0), 20.0)
    assert meters.wait_s({"requests": 1, "input": 1000, "output": 0}, 20.0) == ("input", pytest.approx(0.1))
    assert meters.fill("requests", 20.0) == 0.0


def test_a_limit_that_is_not_known_fills_nothing() -> None:
    """The view of an unknown or absent limit is free."""
    assert metered().fill("", 0.0) == metered().fill("output", 0.0) == 0.0
