"""Verdicts over every kind of refusal, and waits that stay inside their envelope."""

import math
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.api.messages import ErrorBody
from pipeline.api.retry import Action, AttemptFailedError, Verdict, judge, parse_retry_after, retrying, wait_s
from pipeline.settings import SettingsRetry

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DAY_S = 86_400.0


def verdict(status: int, code: str | None = None, error_type: str = "x_error", **headers: str) -> Verdict:
    """The verdict on an answer with these headers, underscores for hyphens."""
    said = ErrorBody(error_type, "text", code, "req_body")
    return judge(status, said, {name.replace("_", "-"): value for name, value in headers.items()}, NOW)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 520, 529, 599])
def test_faults_of_the_service_are_retried(status: int) -> None:
    """What may pass by itself is tried again, and the next run takes the item up."""
    found = verdict(status)
    assert found.action is Action.RETRY
    assert found.retryable
    assert found.overloaded == (status >= 500)
    assert not found.limited


@pytest.mark.parametrize("status", [400, 405, 410, 415, 422, 201, 204])
def test_faults_of_the_request_fail_the_item(status: int) -> None:
    """What would be refused again is not sent again, in this run or the next."""
    found = verdict(status)
    assert found.action is Action.FAIL
    assert not found.retryable


@pytest.mark.parametrize("status", [401, 402, 403, 404, 301, 302, 307, 308])
@pytest.mark.parametrize("advice", ["true", "false", ""])
def test_faults_of_the_account_or_address_stop_the_run(status: int, advice: str) -> None:
    """Key, credit, model and base URL concern every item, whatever the server advises."""
    assert verdict(status, x_should_retry=advice).action is Action.STOP


@pytest.mark.parametrize("error_type", ["authentication_error", "billing_error", "permission_error"])
def test_the_error_type_stops_the_run_under_any_status(error_type: str) -> None:
    """A gateway that answers 400 for a bad key means the key all the same."""
    assert verdict(400, error_type=error_type).action is Action.STOP


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "enforced_spend_limit_reached"), (429, "contract_spend_limit_reached"), (400, "organization_on_hold")],
)
def test_spending_limits_and_holds_stop_the_run(status: int, code: str) -> None:
    """No wait mends them, even where the answer names one."""
    assert verdict(status, code).action is Action.STOP
    assert verdict(status, code, retry_after="5", x_should_retry="true").action is Action.STOP


@pytest.mark.parametrize(
    ("status", "code"),
    [(413, None), (400, "image_dimensions_too_large"), (413, "request_body_too_large_after_decoding")],
)
def test_what_is_too_large_is_to_be_shrunk(status: int, code: str | None) -> None:
    """Size is the item's own fault and can be mended, but not by sending the same again."""
    found = verdict(status, code, x_should_retry="true")
    assert found.action is Action.SHRINK
    assert not found.retryable


@pytest.mark.parametrize(
    ("headers", "code", "action"),
    [
        ({"retry_after": "5"}, None, Action.RETRY),
        ({"retry_after": "5", "x_should_retry": "true"}, None, Action.RETRY),
        ({"retry_after": "0"}, None, Action.RETRY),
        ({"retry_after": "-3"}, None, Action.RETRY),
        ({"retry_after": "garbage"}, None, Action.RETRY),
        ({}, None, Action.STOP),
        ({"x_should_retry": "true"}, None, Action.RETRY),
        ({"x_should_retry": "TRUE "}, None, Action.RETRY),
        ({"x_should_retry": "maybe"}, None, Action.STOP),
        ({}, "ramp_limit_exceeded", Action.RETRY),
        ({}, "a_code_of_next_year", Action.STOP),
        ({"retry_after": "5"}, "a_code_of_next_year", Action.RETRY),
        ({"retry_after": "5", "x_should_retry": "false"}, None, Action.STOP),
        ({"x_should_retry": "false"}, "ramp_limit_exceeded", Action.STOP),
    ],
)
def test_a_429_is_waited_for_or_stops_the_run_but_never_fails_an_item(
    headers: dict[str, str], code: str | None, action: Action
) -> None:
    """A rate limit is retried where the answer says that waiting helps; else it is a limit on spending."""
    found = verdict(429, code, **headers)
    assert found.action is action
    assert found.limited == (action is Action.RETRY)


@pytest.mark.parametrize(
    ("status", "advice", "action"),
    [
        (400, "true", Action.RETRY),
        (500, "false", Action.FAIL),
        (529, "false", Action.FAIL),
        (409, "false", Action.FAIL),
    ],
)
def test_the_servers_advice_goes_before_the_status(status: int, advice: str, action: Action) -> None:
    """`x-should-retry` decides where it is given."""
    assert verdict(status, x_should_retry=advice).action is action


def test_an_item_that_a_failing_server_forbids_to_retry_waits_for_the_next_run() -> None:
    """The fault was the service's, so the item is taken up again by itself."""
    assert verdict(500, x_should_retry="false").retryable


def test_a_redirect_names_host_alone() -> None:
    """Where it leads is said without path, query and userinfo, which may hold secrets."""
    found = verdict(307, location="https://user:secret@evil.example:8443/v1/messages?key=secret")
    assert "https://evil.example:8443" in found.message
    assert "secret" not in found.message
    assert "unreadable" in verdict(302, location="http://[::1").message
    assert "path" in verdict(302, location="/elsewhere").message


def test_carries_what_is_told_of_the_answer() -> None:
    """Status, code and request id travel on; the header's id goes before the body's."""
    found = verdict(400, "some_code", request_id="req_head")
    assert (found.http_status, found.error_code, found.request_id, found.message) == (
        400,
        "some_code",
        "req_head",
        "text",
    )
    assert verdict(400).request_id == "req_body"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("16", 16.0),
        (" 2.5 ", 2.5),
        ("1e1", 10.0),
        ("1e9", DAY_S),
        ("1e999", DAY_S),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        ("Mon, 23 Nov 2026 14:00:30 +0200", 30.0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), DAY_S),
    ],
)
def test_reads_every_form_of_retry_after(text: str, seconds: float) -> None:
    """Seconds and HTTP dates are obeyed, up to a day."""
    assert parse_retry_after(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            "",
            " ",
            "0",
            "-1",
            "-1e9",
            "nan",
            "inf",
            "-inf",
            "infinity",
            "1_000",
            "٣",
            "0x10",
            "soon",
            "5 s",
            "5,0",
        ),
        *(format_datetime(NOW - timedelta(seconds=90), usegmt=True), "Mon, 99 Foo 9999 99:99:99 GMT", "Mon, 23 Nov"),
    ],
)
def test_what_names_no_time_to_come_is_no_wait(text: str | None) -> None:
    """Absent, past, zero, negative and garbled values fall back to our own backoff."""
    assert parse_retry_after(text, NOW) is None


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=150)
def test_any_text_is_read_or_ignored(text: str) -> None:
    """Nothing that a header may hold raises, and no wait is endless."""
    found = parse_retry_after(text, NOW)
    assert found is None or 0 < found <= DAY_S


def test_a_date_is_measured_against_the_servers_own_clock() -> None:
    """Where our clock is a day off, the answer's `date` makes the difference right."""
    until = format_datetime(NOW + timedelta(days=1, seconds=7), usegmt=True)
    date = format_datetime(NOW + timedelta(days=1), usegmt=True)
    assert verdict(429, retry_after=until, date=date).wait_s == pytest.approx(7)


@given(
    st.one_of(st.none(), st.floats(0.001, DAY_S)),
    st.integers(1, 2000),
    st.floats(0, 600),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=200)
def test_waits_stay_inside_their_envelope(asked: float | None, attempt: int, longest: float, seed: int) -> None:
    """What was asked for is kept in full with a little jitter; our own wait is within the doubling and the bound."""
    found = wait_s(asked, attempt, longest, random.Random(seed))
    if asked is not None:
        assert asked <= found <= asked + min(0.1 * asked, 5.0) + 1e-9
    else:
        assert 0 <= found <= min(longest, 0.5 * 2.0 ** min(attempt - 1, 60))


def test_our_own_waits_use_the_whole_envelope() -> None:
    """Full jitter: the waits of many clients after the same failure spread from nothing to the bound."""
    chance = random.Random(7)
    waits = [wait_s(None, 4, 60.0, chance) for _ in range(2000)]
    assert min(waits) < 0.1
    assert max(waits) > 3.9
    assert math.fsum(waits) / 2000 == pytest.approx(2.0, rel=0.1)


async def _run(error: Exception | None, attempts: int) -> tuple[int, list[float], BaseException | None]:
    made, slept = 0, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    loop = retrying(SettingsRetry(max_attempts=attempts, max_wait_seconds=1.0), random.Random(1), sleep)
    try:
        async for attempt in loop:
            with attempt:
                made += 1
                if error is not None:
                    raise error
    except (AttemptFailedError, ValueError) as caught:
        return made, slept, caught
    return made, slept, None


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_tries_as_often_as_it_may_and_waits_between(attempts: int) -> None:
    """`retry.max_attempts` requests with one wait fewer, then the last failure itself."""
    error = AttemptFailedError(Verdict(Action.RETRY, "x", "text", wait_s=3.0))
    made, slept, caught = anyio.run(_run, error, attempts)
    assert (made, len(slept)) == (attempts, attempts - 1)
    assert caught is error
    assert all(3.0 <= seconds <= 3.3 for seconds in slept)


def test_what_does_not_count_is_tried_again_for_as_long_as_it_does_not() -> None:
    """Failures in an outage use up no attempts, and make no wait longer."""
    errors = [AttemptFailedError(Verdict(Action.RETRY, "x", "text"), counts=number % 5 == 4) for number in range(100)]
    made, slept = 0, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        nonlocal made
        async for attempt in retrying(SettingsRetry(max_attempts=3), random.Random(1), sleep):
            with attempt:
                made += 1
                raise errors[made - 1]

    with pytest.raises(AttemptFailedError):
        anyio.run(run)
    assert made == 15
    assert max(slept) <= 1.0


@pytest.mark.parametrize("action", [Action.FAIL, Action.STOP, Action.SHRINK])
def test_only_a_verdict_to_retry_is_retried(action: Action) -> None:
    """Every other verdict ends the turn after one attempt."""
    error = AttemptFailedError(Verdict(action, "x", "text"))
    assert anyio.run(_run, error, 5) == (1, [], error)


def test_other_errors_are_not_caught() -> None:
    """A mistake of ours is no failed attempt."""
    error = ValueError("ours")
    assert anyio.run(_run, error, 5) == (1, [], error)


def test_an_answer_ends_the_loop() -> None:
    """Success is not tried again."""
    assert anyio.run(_run, None, 5) == (1, [], None)


def test_no_answer_is_retried_and_counts_for_the_breaker() -> None:
    """A connection that failed is a passing fault of the network or the service."""
    found = Verdict.unanswered("timeout", "no whole answer")
    assert (found.action, found.overloaded, found.retryable, found.http_status) == (Action.RETRY, True, True, None)
