"""The routes: one request, from its headers to its last byte."""

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.standin.answer import Composed, compose
from pipeline.standin.delivery import FaultyResponse
from pipeline.standin.faults import Delivery, Fault, parse_fault
from pipeline.standin.log import AnswerLog
from pipeline.standin.meters import Meters
from pipeline.standin.models import MODELS, find_model
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem
from pipeline.standin.validate import Asked, read_body

__all__ = ["Service", "build_app"]

_VERSIONS = ("2023-06-01", "2026-10-21")


class Service:
    """The state of one server: limits, faults, counts and log."""

    def __init__(self, options: StandinOptions) -> None:
        self.options = options
        self.log = AnswerLog(options.log)
        self.faults: tuple[Fault, ...] = options.faults
        self.counts = {"requests": 0, "answered": 0, "billed": 0, "rejected": 0, "in_flight": 0, "peak_in_flight": 0}
        self._meters: dict[str, Meters] = {}

    def meters(self, asked: Asked) -> Meters:
        """The limits of the model's class."""
        group = asked.model.group or asked.model.id
        return self._meters.setdefault(group, Meters(self.options))

    async def messages(self, request: Request) -> Response:
        """`POST /v1/messages`."""
        self.counts["requests"] += 1
        number = self.counts["requests"]
        self.counts["in_flight"] += 1
        self.counts["peak_in_flight"] = max(self.counts["peak_in_flight"], self.counts["in_flight"])
        request_id = f"req_{secrets.token_hex(12)}"
        try:
            return await self._answer(request, number, request_id)
        except Problem as problem:
            self.counts["rejected"] += 1
            await self.log.add(_line(request_id, request, status=problem.status, error_type=problem.error_type))
            return _refusal(problem, request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self.counts["in_flight"] -= 1

    async def _answer(self, request: Request, number: int, request_id: str) -> Response:
        self._authorise(request)
        version = _version(request)
        raw = await request.body()
        struck = next((fault for fault in self.faults if fault.strikes(number, raw)), None)
        if struck is not None:
            refused = struck.kind.refuse(struck.arguments)
            if isinstance(refused, Problem):
                raise refused
            if refused is not None:
                self.counts["rejected"] += 1
                status = int(refused.change.get("status", 200))
                await self.log.add(_line(request_id, request, status=status, fault=struck.name))
                return FaultyResponse(refused.body or b"", refused, status=status)
        asked = await run_in_threadpool(read_body, raw, version, self.options.max_base64_bytes)
        meters = self.meters(asked)
        meters.admit(asked.input_tokens)
        composed = compose(asked)
        await asyncio.sleep(self._latency(raw))
        meters.produced(composed.output_tokens)
        delivery = struck.kind.deliver(struck.arguments) if struck is not None else None
        body, billed = _message(composed, delivery)
        self.counts["answered"] += 1
        self.counts["billed"] += billed
        await self.log.add(_answered(request_id, request, asked, composed, billed, struck.name if struck else None))
        headers = {"request-id": request_id, "anthropic-organization-id": "org_standin", **meters.headers()}

        async def delivered() -> None:
            await self.log.add({"event": "delivered", "request_id": request_id})

        return FaultyResponse(body, delivery or Delivery(), headers=headers, delivered=delivered)

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`: free, and not in the log."""
        request_id = f"req_{secrets.token_hex(12)}"
        try:
            self._authorise(request)
            raw = await request.body()
            limit = self.options.max_base64_bytes
            asked = await run_in_threadpool(read_body, raw, _version(request), limit, counting=True)
        except Problem as problem:
            return _refusal(problem, request_id)
        return JSONResponse({"input_tokens": asked.input_tokens}, headers={"request-id": request_id})

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`, with or without an id."""
        request_id = f"req_{secrets.token_hex(12)}"
        name = request.path_params.get("name")
        try:
            self._authorise(request)
            if name is not None and find_model(name) is None:
                raise Problem.not_found(f"model: {name}")
        except Problem as problem:
            return _refusal(problem, request_id)
        headers = {"request-id": request_id}
        if name is not None:
            return JSONResponse(_model(str(name)), headers=headers)
        found = [_model(each) for each in MODELS]
        page = {"data": found, "has_more": False, "first_id": found[0]["id"], "last_id": found[-1]["id"]}
        return JSONResponse(page, headers=headers)

    async def set_faults(self, request: Request) -> Response:
        """`POST /_standin/faults`: a JSON list of fault texts replaces the faults in force."""
        try:
            self.faults = tuple(parse_fault(text) for text in await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"faults": [fault.name for fault in self.faults]})

    async def stats(self, request: Request) -> Response:
        """`GET /_standin/stats`."""
        del request
        return JSONResponse(self.counts)

    def _authorise(self, request: Request) -> None:
        key = _key(request)
        if not key:
            raise Problem(401, "x-api-key header is required")
        if self.options.keys is not None and key not in self.options.keys:
            raise Problem(401, "invalid x-api-key", None, {"x-should-retry": "false"})

    def _latency(self, raw: bytes) -> float:
        low, high = self.options.latency_s
        return low + (high - low) * int.from_bytes(sha256(raw[-4096:]).digest()[:4], "big") / 2**32


class _WithTransport:
    """Hands the server's own transport to the responses that must break it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            cycle = getattr(send, "__self__", None)
            scope["standin.transport"] = getattr(cycle, "transport", None)
        await self._app(scope, receive, send)


def build_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    return _WithTransport(
        Starlette(
            routes=[
                Route("/v1/messages", service.messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", service.count_tokens, methods=["POST"]),
                Route("/v1/models", service.models),
                Route("/v1/models/{name}", service.models),
                Route("/_standin/faults", service.set_faults, methods=["POST"]),
                Route("/_standin/stats", service.stats),
            ]
        )
    )


def _key(request: Request) -> str:
    bearer = request.headers.get("authorization", "")
    return request.headers.get("x-api-key") or (bearer[7:] if bearer.lower().startswith("bearer ") else "")


def _version(request: Request) -> str:
    version = request.headers.get("anthropic-version")
    if not version:
        raise Problem.invalid("anthropic-version: header is required")
    if version not in _VERSIONS:
        raise Problem.invalid(f'anthropic-version: "{version}" is not a valid version')
    return version


def _refusal(problem: Problem, request_id: str) -> Response:
    headers = {"request-id": request_id, **problem.headers}
    if problem.status in (400, 401, 402, 403, 404):
        headers.setdefault("x-should-retry", "false")
    return JSONResponse(problem.body(request_id), status_code=problem.status, headers=headers)


def _message(composed: Composed, delivery: Delivery | None) -> tuple[bytes, bool]:
    """The body, and whether it is billed: a refusal without content is not."""
    if delivery is not None and delivery.body is not None:
        return delivery.body, True
    change = delivery.change if delivery is not None else {}
    message = {
        key: value for key, value in {**composed.message, **change}.items() if key not in change or value is not None
    }
    free = message.get("stop_reason") == "refusal" and not message.get("content")
    return json.dumps(message).encode(), not free


def _line(request_id: str, request: Request, **more: Any) -> dict[str, Any]:
    return {
        "event": "answer",
        "at": datetime.now(UTC).isoformat(),
        "clock": time.monotonic(),
        "request_id": request_id,
        "path": request.url.path,
        "key_sha256": sha256(_key(request).encode()).hexdigest()[:16],
        "billed": False,
        "cost_usd": 0.0,
        **more,
    }


def _answered(
    request_id: str, request: Request, asked: Asked, composed: Composed, billed: bool, fault: str | None
) -> dict[str, Any]:
    return _line(
        request_id,
        request,
        status=200,
        fault=fault,
        model=asked.name,
        billed=billed,
        input_tokens=asked.input_tokens,
        output_tokens=composed.output_tokens,
        cost_usd=composed.bill_nano / 1e9 if billed else 0.0,
        images=[image.sha256 for image in asked.images],
        sizes=[[image.width, image.height] for image in asked.images],
        caption=composed.text,
        stop_reason=composed.message["stop_reason"],
        turns=sum(message["role"] == "user" for message in asked.body["messages"]),
        text=asked.last_text[:1000],
    )


def _model(name: str) -> dict[str, Any]:
    facts = find_model(name)
    if facts is None:
        raise Problem.not_found(f"model: {name}")
    yes, no = {"supported": True}, {"supported": False}
    kinds = {
        kind: yes if kind in facts.thinking else no for kind in ("adaptive", "between_tools", "disabled", "enabled")
    }
    return {
        "type": "model",
        "id": facts.id,
        "display_name": facts.id.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "deprecated" if facts.retires_at else "active",
        "deprecated_at": None,
        "retires_at": facts.retires_at,
        "max_input_tokens": facts.context,
        "max_tokens": facts.max_tokens,
        "capabilities": {
            "image_input": yes,
            "batch": yes,
            "structured_outputs": yes,
            "thinking": {"supported": True, "types": kinds},
        },
    }
