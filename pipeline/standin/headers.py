"""What of a request is checked before its meaning: key, version, encoding and size."""

from collections.abc import Set as AbstractSet

from starlette.requests import Request

from pipeline.standin.problems import Problem
from pipeline.standin.validate import MAX_BODY

__all__ = [
    "authorise",
    "bounded_body",
    "bounded_bytes",
    "check_announced_size",
    "check_plain_json",
    "key_of",
    "version_of",
]

_VERSIONS = ("2023-06-01", "2026-10-21")


def key_of(request: Request) -> str:
    """The key, given as `x-api-key` or as a bearer token; empty for none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return request.headers.get("x-api-key") or (token.strip() if kind.lower() == "bearer" else "")


def authorise(request: Request, keys: AbstractSet[str] | None) -> None:
    """Checks the key.

    Raises:
        Problem: 401: there is none, or it is not one of `keys` (where those are given).
    """
    key = key_of(request)
    if not key:
        raise Problem(401, "x-api-key header is required")
    if keys is not None and key not in keys:
        raise Problem(401, "invalid x-api-key")


def version_of(request: Request) -> str:
    """The API's version that the client wants.

    Raises:
        Problem: 400: there is none, or it is not served.
    """
    version = request.headers.get("anthropic-version")
    if not version:
        raise Problem.invalid("anthropic-version: header is required")
    if version not in _VERSIONS:
        raise Problem.invalid(f'anthropic-version: "{version}" is not a valid version')
    return version


def check_announced_size(request: Request, most: int = MAX_BODY) -> None:
    """Looks at the length that the client announces, as the edge does before the service sees anything.

    Raises:
        Problem: 413 as the edge answers it.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > most:
        raise Problem.at_the_edge()


async def bounded_body(request: Request) -> bytes:
    """The body, never more of it in memory than the service takes.

    Raises:
        Problem: 413 as the edge answers it, or 400 for a body that is not JSON as it stands.
    """
    raw = await bounded_bytes(request, MAX_BODY)
    check_plain_json(request)
    return raw


def check_plain_json(request: Request) -> None:
    """Looks at what the client says that its body is.

    Raises:
        Problem: 400 for a body that is not JSON as it stands.
    """
    _check_plain(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem.invalid("content-type: Input should be 'application/json'")


async def bounded_bytes(request: Request, most: int) -> bytes:
    """A body of any type, of at most so many bytes.

    Raises:
        Problem: 413 as the edge answers it, or 400 for a body that is compressed.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise Problem.at_the_edge()
        chunks.append(chunk)
    _check_plain(request)
    return b"".join(chunks)


def _check_plain(request: Request) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem.invalid(
            "content-encoding: this server takes plain bodies only", {"error_code": "request_body_encoding_unsupported"}
        )
