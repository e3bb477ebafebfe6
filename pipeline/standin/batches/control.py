"""The stand-in's own resources for batches, for tests in other processes: the clock, holding, and counts."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.standin.batches.register import Register
from pipeline.standin.problems import Problem
from pipeline.standin.shapes import check_fields

__all__ = ["BatchControl"]

Work = Callable[[Request], Awaitable[dict[str, Any]]]


class BatchControl:
    """The handlers."""

    def __init__(self, batches: Register) -> None:
        self._batches = batches

    def routes(self) -> list[Route]:
        """Every path with its handler."""
        return [
            Route("/_standin/clock", _answered(self._advance), methods=["POST"]),
            Route("/_standin/batches", _answered(self._hold), methods=["POST"]),
            Route("/_standin/batches", _answered(self._stats)),
        ]

    async def _advance(self, request: Request) -> dict[str, Any]:
        """`POST /_standin/clock` with `{"advance_s": 3600}` moves the batches' clock forward."""
        body = check_fields(await _json(request), "", {"advance_s": (int, float)}, {})
        self._batches.advance(body["advance_s"])
        return {"now": datetime.fromtimestamp(self._batches.clock(), UTC).isoformat()}

    async def _hold(self, request: Request) -> dict[str, Any]:
        """`POST /_standin/batches` with `{"held": true}` holds all batches, those to come too; with `id` one alone."""
        body = check_fields(await _json(request), "", {"held": bool}, {"id": str})
        self._batches.hold(body["held"], body.get("id"))
        return {"held": body["held"]}

    async def _stats(self, request: Request) -> dict[str, Any]:
        """`GET /_standin/batches`: the counts of batches created, and of what became of their requests."""
        del request
        return self._batches.counts


def _answered(work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        try:
            return JSONResponse(await work(request))
        except Problem as problem:
            return JSONResponse({"error": problem.message}, status_code=problem.status)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return handler


async def _json(request: Request) -> Mapping[str, Any]:
    body: Mapping[str, Any] = json.loads(await request.body())
    return body
