"""Error answers in the service's shape."""

import pytest

from pipeline.standin.problems import Problem


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_status_has_its_documented_type(status: int, error_type: str) -> None:
    """Listed statuses have their own type, the others that of their class."""
    assert Problem(status, "x").body("req_1")["error"]["type"] == error_type


def test_the_body_names_the_request_and_carries_the_details() -> None:
    """Everything that a client decides by is in the body."""
    assert Problem.invalid("no", {"error_code": "c"}).body("req_7") == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "no", "details": {"error_code": "c"}},
        "request_id": "req_7",
    }


def test_the_edge_answers_without_type_and_request_id() -> None:
    """A body that never reached the service is refused in the edge's shorter shape."""
    assert Problem.at_the_edge().body("req_7") == {
        "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}
    }


def test_what_no_retry_mends_says_so_unless_told_otherwise() -> None:
    """`x-should-retry` is false on final statuses, and a problem's own headers win."""
    assert Problem.not_found("x").answer_headers() == {"x-should-retry": "false"}
    assert Problem(400, "x", None, {"x-should-retry": "true"}).answer_headers() == {"x-should-retry": "true"}
    assert Problem(500, "x").answer_headers() == {}
