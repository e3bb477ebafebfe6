"""The pages that `pipeline view` serves: the gallery, live, with reviews. Who is let in is said in `doorkeeper`.

Nothing from the dataset is ever sent as a page: items are JSON, pictures are checked to be pictures.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import ImageError
from pipeline.faces.doorkeeper import Doorkeeper
from pipeline.faces.page import page_parts, rendered
from pipeline.faces.watching import ReviewError, Watch
from pipeline.store.searching import Query

__all__ = ["view_app"]

logger = logging.getLogger(__name__)
_MOST_ROWS = 200
_MOST_BODY_BYTES = 1_000_000
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


def view_app(watch: Watch, door: Doorkeeper, name: str) -> Starlette:
    """The application.

    Args:
        watch: the dataset.
        door: who may come in.
        name: of the dataset, as the page shows it.
    """
    parts = page_parts(
        ["base.css", "view.css"],
        ["gallery.js", "view.js"],
        more="img-src data: 'self'; connect-src 'self'",
    )
    policy = f"{parts.policy}; frame-ancestors 'none'"
    page = rendered(
        "view.html.j2",
        page=parts,
        title=f"{name}: captions",
        name=name,
        reviewing=True,
        reviewer=watch.reviewer,
        review_token=door.review_token,
    )

    async def home(request: Request) -> Response:
        if door.has_token(request):
            answer: Response = RedirectResponse("/", 303)
            answer.set_cookie(door.cookie, door.token, httponly=True, samesite="strict", path="/")
            return answer
        _check(door, request)
        return Response(page, media_type="text/html", headers={"content-security-policy": policy})

    handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "state": partial(_state, watch),
        "items": partial(_items, watch),
        "picture": partial(_picture, watch),
    }
    return Starlette(
        routes=[
            Route("/", home),
            *[Route(f"/{path}", _behind(door, handler)) for path, handler in handlers.items()],
            Route("/reviews", _behind(door, partial(_review, watch, door)), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        middleware=[Middleware(_Guard, door=door)],
    )


class _Guard:
    """Refuses foreign names, and puts on every answer what keeps browsers from doing too much with it."""

    def __init__(self, app: ASGIApp, door: Doorkeeper) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        hosts = [value.decode("latin-1") for key, value in scope.get("headers", ()) if key == b"host"]
        if scope["type"] == "http" and (len(hosts) != 1 or not self._door.knows_host(hosts[0])):
            await PlainTextResponse("this server does not go by that name\n", 421)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _behind(
    door: Doorkeeper, handler: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def checked(request: Request) -> Response:
        _check(door, request)
        return await handler(request)

    return checked


def _check(door: Doorkeeper, request: Request) -> None:
    if not door.has_cookie(request):
        raise HTTPException(403, "open the address that pipeline view printed; it holds a token")


async def _refused(request: Request, error: Exception) -> Response:
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    return PlainTextResponse(f"{getattr(error, 'detail', error)}\n", status)


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("%s: unexpected fault; please report it", request.url.path, exc_info=error)
    return PlainTextResponse("unexpected fault; the terminal of pipeline view says more\n", 500)


async def _state(watch: Watch, request: Request) -> Response:
    del request
    async with watch.lock:
        return JSONResponse(await to_thread.run_sync(watch.state))


async def _items(watch: Watch, request: Request) -> Response:
    asked = request.query_params
    query = Query(
        words=tuple(asked.get("words", "").split()),
        kind=asked.get("kind", ""),
        warning=asked.get("warning", ""),
        column=asked.get("column", ""),
        value=asked.get("value", ""),
        sort=asked.get("sort", "time"),
        descending=asked.get("descending", "true") == "true",
    )
    offset, most = _number(asked, "offset", 0), min(_number(asked, "most", 48), _MOST_ROWS)
    async with watch.lock:
        return JSONResponse(await to_thread.run_sync(watch.items, query, asked.get("verdict", ""), offset, most))


async def _picture(watch: Watch, request: Request) -> Response:
    asked = request.query_params
    try:
        async with watch.lock:
            raw = await to_thread.run_sync(watch.picture, asked.get("id", ""), asked.get("fingerprint", ""))
    except ImageError as error:
        raise HTTPException(404, str(error)) from None
    kind = _media_type(raw or b"")
    if not raw or not kind:
        raise HTTPException(404, "there is no picture here that browsers show")
    return Response(raw, media_type=kind, headers={"content-security-policy": "default-src 'none'; sandbox"})


async def _review(watch: Watch, door: Doorkeeper, request: Request) -> Response:
    if not door.may_review(request):
        raise HTTPException(403, "reviews are taken from this server's own page alone")
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MOST_BODY_BYTES:
            raise HTTPException(413, f"a review has at most {_MOST_BODY_BYTES:,} bytes")
    try:
        asked = json.loads(raw)
        if not isinstance(asked, dict):
            raise HTTPException(400, "a review is a JSON object")
        async with watch.lock:
            return JSONResponse(await to_thread.run_sync(watch.review, asked))
    except ReviewError as error:
        raise HTTPException(error.status, str(error)) from None
    except ValueError as error:
        raise HTTPException(400, f"a review is a JSON object: {error}") from None
    except OSError as error:
        raise HTTPException(507, f"the review cannot be written: {error.strerror or error}") from None


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise HTTPException(400, f"{name}: found {text[:40]!r}; allowed: a whole number")
    return int(text)


def _media_type(raw: bytes) -> str:
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if raw.startswith(magic)), "")
