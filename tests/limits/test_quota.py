"""The quota of retries: unnoticed while few fail, a bound where most do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits.quota import RetryQuota


def test_a_few_failures_are_not_noticed() -> None:
    """One request in eight fails once, for ever: no retry ever waits."""
    quota = RetryQuota()
    for number in range(5000):
        if number % 8 == 0:
            assert quota.wait_s(0.0) == 0.0
            quota.take(0.0)
            quota.answered(retried=True)
        else:
            quota.answered(retried=False)


def test_a_service_that_answers_nothing_draws_a_bounded_number_of_retries() -> None:
    """A store of a hundred, and one more every two seconds."""
    quota, now, retries = RetryQuota(), 0.0, 0
    while now < 300:
        now += quota.wait_s(now)
        quota.take(now)
        retries += 1
    assert 245 <= retries <= 252


@given(st.lists(st.sampled_from(["retry", "first", "again"]), max_size=400))
@settings(deadline=None, max_examples=50)
def test_retries_never_pass_the_store_and_what_answers_give_back(steps: list[str]) -> None:
    """Whatever the order: what was taken is at most the store and the returns."""
    quota, taken, given_back = RetryQuota(), 0, 0.0
    for step in steps:
        if step != "retry":
            quota.answered(retried=step == "again")
            given_back += 1.0 if step == "again" else 0.2
        elif quota.wait_s(0.0) == 0.0:
            quota.take(0.0)
            taken += 1
    assert taken <= 100 + given_back + 1e-6


def test_an_empty_store_tells_when_the_next_may_go() -> None:
    """The wait is exactly long enough."""
    quota = RetryQuota(level=0.5, at=10.0)
    wait = quota.wait_s(10.0)
    assert wait == pytest.approx(1.0)
    assert quota.wait_s(10.0 + wait) == 0.0
