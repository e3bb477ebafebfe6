"""One server's work: a request, from its headers to the answer that is handed over for delivery."""

import asyncio
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pipeline.standin.answer import compose
from pipeline.standin.batches.outcomes import Answerer
from pipeline.standin.batches.register import Register
from pipeline.standin.caching import PromptCache
from pipeline.standin.delivery import DeliveredResponse, Delivery
from pipeline.standin.faults import Fault
from pipeline.standin.headers import authorise, bounded_body, check_announced_size, version_of
from pipeline.standin.lines import answer_line, refusal_line
from pipeline.standin.listing import describe, page
from pipeline.standin.log import AnswerLog
from pipeline.standin.looking import LOOK_HEADER, Looker
from pipeline.standin.meters import Meters
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem
from pipeline.standin.sending import sent_message
from pipeline.standin.shelf import Shelf
from pipeline.standin.striking import Strikes
from pipeline.standin.validate import Asked, read_body

__all__ = ["ORGANISATION", "Service", "new_request_id", "refusal"]

_READERS = 4
_SMALL = 4096
ORGANISATION = {"anthropic-organization-id": "org_standin", "anthropic-workspace-id": "wrkspc_standin"}
"""Headers of every answer to a known key."""


class Service:
    """The state of one server: limits, cache, faults, counts and log.

    Attributes:
        faults: in force; may be replaced at any time.
        files: what was uploaded.
        strikes: counts the requests that faults strike.
        batches: what `/v1/messages/batches` keeps.
        counts: of `POST /v1/messages`: `requests`, `answered`, `billed`, `rejected`, `in_flight`, `peak_in_flight`.
    """

    def __init__(self, options: StandinOptions) -> None:
        self.options = options
        self.log = AnswerLog(options.log)
        self.faults: tuple[Fault, ...] = options.faults
        self.counts = {"requests": 0, "answered": 0, "billed": 0, "rejected": 0, "in_flight": 0, "peak_in_flight": 0}
        self.files = Shelf(time.time)
        self.looker = Looker(self.files.image, always=options.look)
        self.strikes = Strikes(lambda: self.faults)
        self._meters: dict[str, Meters] = {}
        self._cache = PromptCache(time.monotonic)
        self._readers = ThreadPoolExecutor(_READERS, "standin-reader")
        answerer = Answerer(options.max_base64_bytes, self.files.image, self.looker, self._cache, self.strikes)
        self.batches = Register(options, self.log, answerer)

    def close(self) -> None:
        """Ends its threads and closes the log."""
        self.batches.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.looker.close()
        self.log.close()

    async def messages(self, request: Request) -> Response:
        """`POST /v1/messages`."""
        self.counts["requests"] += 1
        request_id = new_request_id()
        try:
            return await self._answer(request, self.counts["requests"], request_id)
        except Problem as problem:
            self.counts["rejected"] += 1
            said = {"status": problem.status, "error_type": problem.error_type, "message": problem.message}
            await self.log.add(refusal_line(request, request_id, **said))
            return refusal(problem, request_id)
        except ClientDisconnect:
            return Response(status_code=499)

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`: free, and not in the log."""
        request_id = new_request_id()
        try:
            raw, version = await self._received(request)
            asked = await self._read(raw, version, counting=True)
        except Problem as problem:
            return refusal(problem, request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        return JSONResponse({"input_tokens": asked.input_tokens}, headers={"request-id": request_id, **ORGANISATION})

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`, with or without an id."""
        request_id = new_request_id()
        name = request.path_params.get("name")
        try:
            authorise(request, self.options.keys)
            version_of(request)
            found = page(request.query_params) if name is None else describe(str(name))
        except Problem as problem:
            return refusal(problem, request_id)
        return JSONResponse(found, headers={"request-id": request_id, **ORGANISATION})

    async def _answer(self, request: Request, number: int, request_id: str) -> Response:
        raw, version = await self._received(request)
        struck = self.strikes.of("messages", number, raw)
        refused = struck.misfortune.refuse() if struck is not None else None
        if isinstance(refused, Problem):
            raise refused
        if refused is not None:
            self.counts["rejected"] += 1
            status = refused.status if refused.part else None
            await self.log.add(refusal_line(request, request_id, status=status, fault=_name(struck)))
            return DeliveredResponse(b"", refused, {"request-id": request_id})
        asked = await self._read(raw, version)
        use = self._cache.look_up(asked.steps, asked.model.cache_minimum)
        meters = self._meters_of(asked)
        meters.admit(use.limited)
        asked = await self.looker.looked(request.headers.get(LOOK_HEADER, ""), asked)
        composed = compose(asked, use, f"msg_{secrets.token_hex(12)}")
        await asyncio.sleep(self._latency(raw))
        meters.produced(composed.output_tokens)
        self._cache.response_begun(use)
        delivery = (struck.misfortune.deliver() if struck is not None else None) or Delivery()
        sent = sent_message(composed, delivery)
        self.counts["answered"] += 1
        self.counts["billed"] += sent.billed
        said = {**sent.said, "cost_usd": composed.bill_nano / 1e9 * sent.billed, "fault": _name(struck)}
        await self.log.add(answer_line(request, request_id, asked, use, composed, **said))
        headers = {"request-id": request_id, **ORGANISATION, **meters.headers()}
        delivered = partial(self.log.add, {"event": "delivered", "request_id": request_id})
        return DeliveredResponse(sent.body, delivery, headers, delivered)

    def _meters_of(self, asked: Asked) -> Meters:
        group = asked.model.group or asked.model.id
        if group not in self._meters:
            self._meters[group] = Meters(self.options)
        return self._meters[group]

    async def _received(self, request: Request) -> tuple[bytes, str]:
        check_announced_size(request)
        authorise(request, self.options.keys)
        version = version_of(request)
        return await bounded_body(request), version

    async def _read(self, raw: bytes, version: str, *, counting: bool = False) -> Asked:
        """Checks a body: a small one at once, one that may hold a large picture in a thread."""
        most = self.options.max_base64_bytes
        work = partial(read_body, raw, version, most, counting=counting, files=self.files.image)
        if len(raw) <= _SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def _latency(self, raw: bytes) -> float:
        low, high = self.options.latency_s
        return low + (high - low) * int.from_bytes(sha256(raw[-4096:]).digest()[:4], "big") / 2**32


def new_request_id() -> str:
    """A fresh `request-id`."""
    return f"req_{secrets.token_hex(12)}"


def refusal(problem: Problem, request_id: str) -> Response:
    """The answer that a problem is."""
    organisation = {} if problem.status == 401 or problem.bare else ORGANISATION
    headers = {"request-id": request_id, **organisation, **problem.answer_headers()}
    body = json.dumps(problem.body(request_id))  # in ASCII: it may quote half a surrogate pair, which UTF-8 cannot hold
    return Response(body, problem.status, headers, "application/json")


def _name(fault: Fault | None) -> str | None:
    return fault.name if fault is not None else None
