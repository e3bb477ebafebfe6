"""The routes of the Message Batches API: create, list, poll, cancel, delete, and the results."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.standin.batches.batch import AskedWith
from pipeline.standin.batches.creating import receive
from pipeline.standin.batches.misfortunes import Elsewhere, SmallPages
from pipeline.standin.batches.results import ResultsResponse
from pipeline.standin.delivery import DeliveredResponse, Delivery
from pipeline.standin.faults import Fault
from pipeline.standin.headers import authorise, check_announced_size, version_of
from pipeline.standin.lines import key_sha256, stamp
from pipeline.standin.looking import LOOK_HEADER
from pipeline.standin.meters import Meters
from pipeline.standin.paging import window
from pipeline.standin.problems import Problem
from pipeline.standin.service import ORGANISATION, Service, new_request_id, refusal

__all__ = ["BatchRoutes"]

_ROOT = "/v1/messages/batches"


class _Call:
    """One request to this API: where it goes, what strikes it, and the id of its batch once that is known."""

    def __init__(self, request: Request, place: str, struck: Fault | None) -> None:
        self.request = request
        self.place = place
        self.struck = struck
        self.request_id = new_request_id()
        self.batch_id: str | None = request.path_params.get("batch_id")

    @property
    def base_url(self) -> str:
        """The host that `results_url` names: the one that was asked, or another if a fault says so."""
        misfortune = self.struck.misfortune if self.struck is not None else None
        if isinstance(misfortune, Elsewhere):
            return misfortune.to.rstrip("/")
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    @property
    def asked_with(self) -> AskedWith:
        """What its headers say for all requests of a batch."""
        look = self.request.headers.get(LOOK_HEADER, "")
        return AskedWith(version_of(self.request), key_sha256(self.request), look)

    @property
    def refused(self) -> Problem | Delivery | None:
        """What it is answered instead of the work."""
        return self.struck.misfortune.refuse() if self.struck is not None else None

    @property
    def delivery(self) -> Delivery:
        """What becomes of its answer."""
        return (self.struck.misfortune.deliver() if self.struck is not None else None) or Delivery()


Work = Callable[[_Call], Awaitable[Any]]


class BatchRoutes:
    """The handlers of one server's batches."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._batches = service.batches
        options = service.options
        self._meters = Meters(
            replace(
                options,
                requests_per_minute=options.batch_calls_per_minute,
                input_tokens_per_minute=None,
                output_tokens_per_minute=None,
            )
        )

    def routes(self) -> list[Route]:
        """Every path with its handler."""
        one = f"{_ROOT}/{{batch_id}}"
        return [
            Route(_ROOT, self._answered("create", self._create), methods=["POST"]),
            Route(_ROOT, self._answered("list", self._list)),
            Route(one, self._answered("get", self._look)),
            Route(one, self._answered("delete", self._delete), methods=["DELETE"]),
            Route(f"{one}/cancel", self._answered("cancel", self._cancel), methods=["POST"]),
            Route(f"{one}/results", self._answered("results", self._results)),
        ]

    def _answered(self, place: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """A handler that checks key and version first, and logs every call with what it was answered."""

        async def handler(request: Request) -> Response:
            call = _Call(request, place, self._service.strikes.next(place))
            try:
                response = await self._worked(call, work)
            except Problem as problem:
                response = refusal(problem, call.request_id)
            except ClientDisconnect:
                response = Response(status_code=499)
            await self._log(call, response.status_code)
            return response

        return handler

    async def _worked(self, call: _Call, work: Work) -> Response:
        authorise(call.request, self._service.options.keys)
        version_of(call.request)
        self._meters.admit(0)
        try:
            if call.place != "create":  # there the body is read first
                _refuse(call)
            found = await work(call)
        except _Foreign as foreign:
            return DeliveredResponse(b"", foreign.delivery, {"request-id": call.request_id})
        if isinstance(found, Response):
            return found
        return DeliveredResponse(json.dumps(found).encode(), call.delivery, self._headers(call))

    async def _log(self, call: _Call, status: int) -> None:
        line = {
            "event": "batch_call",
            **stamp(),
            "request_id": call.request_id,
            "call": call.place,
            "batch_id": call.batch_id,
            "status": status,
            "key_sha256": key_sha256(call.request),
            "fault": call.struck.name if call.struck is not None else None,
        }
        await self._service.log.add(line)

    def _headers(self, call: _Call) -> dict[str, str]:
        limits = {name: text for name, text in self._meters.headers().items() if "-requests-" in name}
        return {"request-id": call.request_id, **ORGANISATION, **limits}

    async def _create(self, call: _Call) -> dict[str, Any]:
        options = self._service.options
        check_announced_size(call.request, options.batch_bytes)
        received = await receive(call.request, options.batch_most, options.batch_bytes)
        try:
            _refuse(call)
            batch = self._batches.reserve(received.items, call.asked_with)
        except BaseException:
            received.items.close()
            raise
        call.batch_id = batch.id
        await received.log(batch, call.request_id, self._service.log)
        told = self._batches.told(batch, call.base_url)
        self._batches.add(batch)
        return told

    async def _list(self, call: _Call) -> dict[str, Any]:
        found = {batch.id: batch for batch in self._batches.newest_first()}
        misfortune = call.struck.misfortune if call.struck is not None else None
        most = {"most": misfortune.most} if isinstance(misfortune, SmallPages) else {}
        names, more = window(list(found), call.request.query_params, "batch", **most)
        return {
            "data": [self._batches.told(found[name], call.base_url) for name in names],
            "has_more": more,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }

    async def _look(self, call: _Call) -> dict[str, Any]:
        return self._batches.told(self._batches.get(str(call.batch_id)), call.base_url)

    async def _cancel(self, call: _Call) -> dict[str, Any]:
        return self._batches.cancel(str(call.batch_id), call.base_url)

    async def _delete(self, call: _Call) -> dict[str, Any]:
        return self._batches.delete(str(call.batch_id))

    async def _results(self, call: _Call) -> Response:
        reading = self._batches.results(str(call.batch_id))
        delivery, headers = call.delivery, self._headers(call)
        if delivery.body is not None or delivery.endless:
            return DeliveredResponse(b"", delivery, headers)
        return ResultsResponse(reading, delivery, headers, self._service.log)


class _Foreign(Exception):  # noqa: N818 - it is an answer, not a fault of this program
    """An answer that is no JSON of the API."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__()
        self.delivery = delivery


def _refuse(call: _Call) -> None:
    """Strikes before the work.

    Raises:
        Problem: as scripted.
        _Foreign: likewise.
    """
    refused = call.refused
    if isinstance(refused, Problem):
        raise refused
    if refused is not None:
        raise _Foreign(refused)
