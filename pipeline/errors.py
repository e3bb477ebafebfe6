"""Every error of the package, and what each one ends.

::

    PipelineError
    ├── ConfigError          command line or configuration is wrong          exit 2, nothing sent
    ├── ManifestError        the manifest as a whole cannot be read          exit 2
    ├── OutputError          the output cannot be used                       exit 2
    │   └── OutputHeldError  another run holds this output                   exit 75
    ├── RunStoppedError      an answer that no retry can mend                exit 3
    └── ItemError            one item fails, the run goes on                 a row in failures/
        ├── RowError         its manifest row cannot be read
        ├── ImageError       its image cannot be had, or cannot be sent
        ├── PromptError      its prompt cannot be rendered
        └── AnswerError      what the service said, or failed to say

Errors above `ItemError` cross the task group and end the run; an `ItemError` is turned into a failure row at
the edge of the stage that raised it, and never goes further. This module raises nothing and imports nothing
of the package.
"""

from enum import StrEnum
from typing import TypeVar

__all__ = [
    "AnswerError",
    "ConfigError",
    "ErrorType",
    "ImageError",
    "ItemError",
    "ManifestError",
    "OutputError",
    "OutputHeldError",
    "PipelineError",
    "PromptError",
    "RowError",
    "RunStoppedError",
    "first_error",
]


Raised = TypeVar("Raised", bound=BaseException)


class ErrorType(StrEnum):
    """Our own values of `failures.error_type`; the service's types stand beside them as they came."""

    IMAGE_MISSING = "image_missing"
    IMAGE_REFUSED = "image_refused"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_UNSUPPORTED = "image_unsupported"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_FETCH_FAILED = "image_fetch_failed"
    DUPLICATE_ID = "duplicate_id"
    PROMPT_ERROR = "prompt_error"
    REFUSAL = "refusal"
    SCHEMA_MISMATCH = "schema_mismatch"
    CONNECTION_ERROR = "connection_error"
    TIMEOUT = "timeout"
    BAD_RESPONSE = "bad_response"
    BATCH_EXPIRED = "batch_expired"
    BATCH_CANCELED = "batch_canceled"
    INVALID_REQUEST = "invalid_request_error"


class PipelineError(Exception):
    """Base of every error that the package raises on purpose."""

    exit_code = 1


class ConfigError(PipelineError):
    """The command line or the configuration is wrong; the message names the key, what was found, what may be."""

    exit_code = 2


class ManifestError(PipelineError):
    """The manifest as a whole cannot be read; the message names the file and the line."""

    exit_code = 2


class OutputError(PipelineError):
    """The output cannot be used: not writable, full, damaged, or written by a newer version."""

    exit_code = 2


class OutputHeldError(OutputError):
    """Another run holds this output."""

    exit_code = 75


class RunStoppedError(PipelineError):
    """The service gave an answer that no retry can mend: key refused, unknown model, no credit."""

    exit_code = 3


class ItemError(PipelineError):
    """One item fails and the run goes on.

    Attributes:
        error_type: a value of `ErrorType`, or the service's own `error.type`.
        retryable: whether the next run takes the item up by itself.
        http_status: of the last answer, `None` where none came.
        request_id: of the last answer, `None` where none came.
        attempts: requests that were sent for the item before it failed.
    """

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        retryable: bool = False,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = str(error_type)
        self.retryable = retryable
        self.http_status = http_status
        self.request_id = request_id
        self.attempts = 0


class RowError(ItemError):
    """The manifest row cannot be read, or its id stands for other images already."""


class ImageError(ItemError):
    """The image cannot be had, may not be read, or cannot be made fit to send."""


class PromptError(ItemError):
    """The prompt of this row cannot be rendered."""


class AnswerError(ItemError):
    """The service refused, answered what cannot be used, or never answered."""


def first_error(group: BaseExceptionGroup[Raised]) -> Raised:
    """The first error that a group of errors holds, however deep."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
