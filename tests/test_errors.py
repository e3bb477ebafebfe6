"""Errors: the tree as it is drawn, and what each of them ends with."""

import inspect
import re

import pytest

from pipeline import errors
from pipeline.errors import (
    ConfigError,
    ErrorType,
    ImageError,
    ItemError,
    ManifestError,
    OutputError,
    OutputHeldError,
    PipelineError,
    RunStoppedError,
    first_error,
)

OWN_TYPES = [
    "image_missing",
    "image_refused",
    "image_too_large",
    "image_unsupported",
    "image_corrupt",
    "image_fetch_failed",
    "duplicate_id",
    "prompt_error",
    "refusal",
    "schema_mismatch",
    "connection_error",
    "timeout",
    "bad_response",
    "batch_expired",
    "batch_canceled",
]


def drawn_tree() -> dict[str, str | None]:
    """Each error of the module's drawing, and the one it hangs from."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w*Error)\b", line)
        if match is not None:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            parents[match[2]] = above[depth - 1] if depth else None
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    """The drawing at the top of the module has every error, under the one that it comes from, in order."""
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, PipelineError)]
    real = {each.__name__: each.__bases__[0].__name__ for each in classes}
    assert drawn_tree() == {**real, "PipelineError": None}
    in_order = [name for name, each in vars(errors).items() if inspect.isclass(each) and name in real]
    assert list(drawn_tree()) == in_order


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 2),
        (ManifestError, 2),
        (OutputError, 2),
        (OutputHeldError, 75),
        (RunStoppedError, 3),
    ],
)
def test_an_error_that_ends_the_run_has_its_exit_code(error: type[PipelineError], code: int) -> None:
    """Exit codes are those of the interface."""
    assert error("x").exit_code == code


def test_our_own_error_types_are_those_of_the_interface() -> None:
    """Each documented type exists; beside them only one of the service's own is named here."""
    assert {each.value for each in ErrorType} == {*OWN_TYPES, "invalid_request_error"}


def test_an_item_error_carries_what_its_row_needs() -> None:
    """Type, message, status and request stand on the error; by default it waits for the user."""
    error = ImageError(ErrorType.IMAGE_CORRUPT, "a.jpg: torn", http_status=400, request_id="req_1")
    assert isinstance(error, ItemError)
    assert (error.error_type, str(error)) == ("image_corrupt", "a.jpg: torn")
    assert type(error.error_type) is str
    assert (error.http_status, error.request_id) == (400, "req_1")
    assert (error.retryable, error.attempts) == (False, 0)


def test_a_type_of_the_service_stands_as_it_came() -> None:
    """Types that we do not know are kept."""
    assert ItemError("brand_new_error", "x", retryable=True).error_type == "brand_new_error"


def test_the_first_error_of_a_group_is_found_however_deep() -> None:
    """Task groups wrap what a task raised, once for each group that it crosses."""
    alone = OutputError("full")
    assert first_error(ExceptionGroup("once", [alone])) is alone
    assert first_error(ExceptionGroup("out", [ExceptionGroup("in", [alone]), ConfigError("later")])) is alone
