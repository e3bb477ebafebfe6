"""The routes of the Files API: upload, list, look at, download and delete. Free, and not in the log."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.standin.forms import parts_of
from pipeline.standin.headers import authorise, bounded_bytes, check_announced_size, version_of
from pipeline.standin.problems import Problem
from pipeline.standin.service import ORGANISATION, Service, new_request_id, refusal

__all__ = ["MAX_FILE", "FileRoutes"]

MAX_FILE = 500_000_000
"""Bytes of an upload."""
_OLD = "files-api-2025-04-14"

Work = Callable[[Request], Awaitable[Any]]


class FileRoutes:
    """The handlers of one server's files."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._shelf = service.files

    def routes(self) -> list[Route]:
        """Every path with its handler."""
        return [
            Route("/v1/files", self._answered(self._upload), methods=["POST"]),
            Route("/v1/files", self._answered(self._list)),
            Route("/v1/files/{file_id}", self._answered(self._look)),
            Route("/v1/files/{file_id}", self._answered(self._delete), methods=["DELETE"]),
            Route("/v1/files/{file_id}/content", self._answered(self._content)),
        ]

    def _answered(self, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """A handler that checks key and version first, and gives what goes wrong the API's shape."""

        async def handler(request: Request) -> Response:
            request_id = new_request_id()
            try:
                authorise(request, self._service.options.keys)
                version_of(request)
                found = await work(request)
            except Problem as problem:
                return refusal(problem, request_id)
            except ClientDisconnect:
                return Response(status_code=499)
            return JSONResponse(found, headers={"request-id": request_id, **ORGANISATION})

        return handler

    async def _upload(self, request: Request) -> dict[str, Any]:
        check_announced_size(request, MAX_FILE)
        raw = await bounded_bytes(request, MAX_FILE)
        stored = self._shelf.add(parts_of(raw, request.headers.get("content-type", "")))
        return stored.metadata(old=_is_old(request))

    async def _list(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        return self._shelf.page(query, query.getlist("ids[]"), old=_is_old(request))

    async def _look(self, request: Request) -> dict[str, Any]:
        return self._shelf.get(_id(request)).metadata(old=_is_old(request))

    async def _content(self, request: Request) -> None:
        self._shelf.content(_id(request))

    async def _delete(self, request: Request) -> dict[str, Any]:
        return self._shelf.delete(_id(request))


def _id(request: Request) -> str:
    return str(request.path_params["file_id"])


def _is_old(request: Request) -> bool:
    return _OLD in request.headers.get("anthropic-beta", "").replace(" ", "").split(",")
