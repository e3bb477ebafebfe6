"""Error answers, in the service's own shape."""

from typing import Any, Self

__all__ = ["Problem"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Problem(Exception):  # noqa: N818 - it is an answer, not a fault of this program
    """An answer that is no message: status, body and headers."""

    def __init__(
        self, status: int, message: str, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
        self.headers = headers or {}

    @classmethod
    def invalid(cls, message: str, details: dict[str, Any] | None = None) -> Self:
        """A 400."""
        return cls(400, message, details)

    @classmethod
    def not_found(cls, message: str) -> Self:
        """A 404."""
        return cls(404, message)

    @property
    def error_type(self) -> str:
        """The service's word for it."""
        return _TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON of the answer."""
        error = {"type": self.error_type, "message": self.message, "details": self.details}
        return {"type": "error", "error": error, "request_id": request_id}
