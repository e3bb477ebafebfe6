"""Error answers, in the service's own shape."""

from typing import Any, Self

__all__ = ["Problem"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FINAL = (400, 401, 402, 403, 404, 405, 413)


class Problem(Exception):  # noqa: N818 - it is an answer, not a fault of this program
    """An answer that is no message.

    Attributes:
        details: the error's stable part, such as its `error_code`.
        headers: beside those that every answer has.
        bare: without `type` and `request_id`, as the edge answers before the service is reached.
    """

    def __init__(
        self, status: int, message: str, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.bare = False

    @classmethod
    def invalid(cls, message: str, details: dict[str, Any] | None = None) -> Self:
        """A 400."""
        return cls(400, message, details)

    @classmethod
    def not_found(cls, message: str) -> Self:
        """A 404."""
        return cls(404, message)

    @classmethod
    def at_the_edge(cls) -> Self:
        """The edge's own 413."""
        problem = cls(413, "Request exceeds the maximum size")
        problem.bare = True
        return problem

    @property
    def error_type(self) -> str:
        """The service's word for it; the set is open, unlisted statuses go by their class."""
        return _TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")

    def answer_headers(self) -> dict[str, str]:
        """Its headers; what no retry can mend says so."""
        return {"x-should-retry": "false", **self.headers} if self.status in _FINAL else self.headers

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON of the answer."""
        error = {"type": self.error_type, "message": self.message}
        if self.bare:
            return {"error": error}
        return {"type": "error", "error": {**error, "details": self.details}, "request_id": request_id}
