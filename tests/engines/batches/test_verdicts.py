"""What follows from an item's result in a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.api.batch_states import ItemResult
from pipeline.engines.batches.verdicts import Next, failure_of, next_of

ERRORS = st.sampled_from(
    (
        *("api_error", "overloaded_error", "rate_limit_error", "timeout_error", "invalid_request_error"),
        *("not_found_error", "request_too_large", "authentication_error", "something_new"),
    )
) | st.text(max_size=20)
RESULTS = st.sampled_from(["succeeded", "errored", "canceled", "expired"]).flatmap(
    lambda kind: ERRORS.map(lambda error: ItemResult("a", kind, error_type=error if kind == "errored" else None))  # type: ignore[arg-type]
)


@given(RESULTS, st.integers(1, 20), st.integers(1, 10), st.booleans(), st.booleans())
def test_the_rules_hold_for_every_result(
    result: ItemResult, attempt: int, most: int, linked: bool, released: bool
) -> None:
    """A success is settled, nothing is asked in a batch beyond the attempts, and only passing faults are retryable."""
    follows = next_of(result, attempt=attempt, most_attempts=most, linked=linked, released=released)
    assert (follows is Next.SETTLE) == (result.kind == "succeeded")
    assert follows is not Next.BATCH or attempt < most
    if result.kind == "canceled":
        assert follows is (Next.ALONE if released else Next.FAIL)
    if result.kind != "succeeded":
        failure = failure_of(result)
        assert failure.error_type
        assert follows is not Next.BATCH or failure.retryable


@pytest.mark.parametrize(
    ("result", "linked", "released", "expected"),
    [
        (ItemResult("a", "expired"), False, False, Next.BATCH),
        (ItemResult("a", "expired"), False, True, Next.ALONE),
        (ItemResult("a", "errored", error_type="overloaded_error"), False, True, Next.BATCH),
        (ItemResult("a", "errored", error_type="invalid_request_error"), False, False, Next.FAIL),
        (ItemResult("a", "errored", error_type="invalid_request_error"), True, False, Next.ALONE),
        (ItemResult("a", "errored", error_type="not_found_error"), True, False, Next.ALONE),
        (ItemResult("a", "errored", error_type="request_too_large"), False, False, Next.ALONE),
        (ItemResult("a", "errored", error_type="something_new"), True, False, Next.FAIL),
    ],
)
def test_table(result: ItemResult, linked: bool, released: bool, expected: Next) -> None:
    """The table of the reference's section 7.4, as this program acts on it."""
    assert next_of(result, attempt=1, most_attempts=8, linked=linked, released=released) is expected
