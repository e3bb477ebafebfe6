"""The routes, and what every request passes on its way to them."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.standin.batches.control import BatchControl
from pipeline.standin.batches.routes import BatchRoutes
from pipeline.standin.faults import parse_fault
from pipeline.standin.files import FileRoutes
from pipeline.standin.problems import Problem
from pipeline.standin.service import Service, new_request_id, refusal

__all__ = ["build_app"]

_MESSAGES = "/v1/messages"


class _Edge:
    """Counts what is in flight, and hands the socket's transport to the responses that must break it.

    ASGI has no word for a reset, so the transport is taken from uvicorn's request cycle, whose bound method `send`
    is; where that is not so the request fails loudly instead of being answered too well.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._counts = service.counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["standin.transport"] = send.__self__.transport  # type: ignore[attr-defined]
        if scope["path"] != _MESSAGES:
            await self._app(scope, receive, send)
            return
        self._counts["in_flight"] += 1
        self._counts["peak_in_flight"] = max(self._counts["peak_in_flight"], self._counts["in_flight"])
        try:
            await self._app(scope, receive, send)
        finally:
            self._counts["in_flight"] -= 1


class _Control:
    """The stand-in's own resources, for tests in other processes."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def set_faults(self, request: Request) -> Response:
        """`POST /_standin/faults`: a JSON list of fault texts replaces the faults in force."""
        try:
            self._service.faults = tuple(parse_fault(text) for text in _texts(await request.json()))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"faults": [fault.name for fault in self._service.faults]})

    async def stats(self, request: Request) -> Response:
        """`GET /_standin/stats`: the counts of `POST /v1/messages`."""
        del request
        return JSONResponse(self._service.counts)


def build_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    control = _Control(service)
    app = Starlette(
        routes=[
            Route(_MESSAGES, service.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", service.count_tokens, methods=["POST"]),
            *BatchRoutes(service).routes(),
            *BatchControl(service.batches).routes(),
            *FileRoutes(service).routes(),
            Route("/v1/models", service.models),
            Route("/v1/models/{name}", service.models),
            Route("/_standin/faults", control.set_faults, methods=["POST"]),
            Route("/_standin/stats", control.stats),
        ],
        exception_handlers={HTTPException: _unrouted, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return _Edge(app, service)


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("allowed: a JSON list of fault texts")
    return value


async def _unrouted(request: Request, error: Exception) -> Response:
    """Unknown paths and wrong methods, in the API's own shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = "Not found" if status == 404 else f"{request.method} is not allowed here"
    return refusal(Problem(status, message, None, headers), new_request_id())


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of this program: a 500 that says so."""
    del request
    return refusal(Problem(500, f"the stand-in failed: {type(error).__name__}: {error}"), new_request_id())
