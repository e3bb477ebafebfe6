"""The Message Batches API: create from a file, look, list, cancel, read results. What follows from it is the engine's.

No idempotency key reaches the service, so a `create` whose answer did not arrive may have made a batch: it is never
simply repeated (`CreationUnknownError`), but looked for. `request_counts` says nothing before a batch has ended.
Limits are those of the reference's section 7.1.
"""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import anyio

from pipeline.api.batch_states import BatchState, parse_json, parse_state
from pipeline.api.messages import parse_error
from pipeline.api.retry import Action, AttemptFailedError, Verdict, judge, retrying
from pipeline.api.transport import MAX_ANSWER_BYTES, Reply, Session, Unanswered
from pipeline.errors import ErrorType, RunStoppedError
from pipeline.settings import SettingsRetry

__all__ = [
    "MAX_BYTES",
    "MAX_ITEMS",
    "BatchTooLargeError",
    "Batches",
    "CreationUnknownError",
    "TryLaterError",
]

MAX_BYTES = 256_000_000
"""Of the body that creates a batch."""
MAX_ITEMS = 100_000
_PATH = "/v1/messages/batches"
_PIECE_BYTES = 512 * 1024
_SLOWEST_BYTES_S = 250_000
"""An upload slower than two megabits a second is given up."""
_SILENCE_S = 120.0
"""Results that bring nothing for so long are cut off, and read again."""
_PAGE = 100


class CreationUnknownError(Exception):
    """The service may have created the batch."""


class BatchTooLargeError(Exception):
    """The service takes no body of this size."""


class TryLaterError(Exception):
    """Nothing was created; the service takes it later.

    Attributes:
        wait_s: how long it asked to wait, `None` where it did not.
        limited: whether a limit was reached; else the service was not.
    """

    def __init__(self, message: str, wait_s: float | None = None, *, limited: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.limited = limited


class Batches:
    """The batches of one account.

    Args:
        session: with the service.
        base_url: of the service; results are read from no other host.
        retry: of failures that pass.
        sleep: waits, and ends early once the run drains.
    """

    def __init__(
        self, session: Session, base_url: str, retry: SettingsRetry, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._retry = retry
        self._sleep = sleep
        self._chance = random.Random()  # noqa: S311 - jitter, no secret

    async def create(self, body: Path, timeout_s: float) -> BatchState:
        """Creates a batch of the JSON in a file, read and sent in pieces; one attempt.

        Raises:
            CreationUnknownError: it may have been created.
            TryLaterError: it was not; later it may be.
            BatchTooLargeError: it was not, and never will be.
            RunStoppedError: no retry can mend it.
        """
        size = (await anyio.Path(body).stat()).st_size
        try:
            with anyio.fail_after(timeout_s + size / _SLOWEST_BYTES_S):
                reply = await self._sent(body, size)
        except TimeoutError:
            raise CreationUnknownError("no whole answer in time") from None
        except Unanswered as error:
            if error.sent:
                raise CreationUnknownError(str(error)) from error
            raise TryLaterError(str(error)) from error
        if reply.status in (200, 201):
            state = parse_state(parse_json(reply.body))
            if state is None:
                raise CreationUnknownError("the answer names no batch")
            return state
        raise _not_created(reply)

    async def look(self, batch_id: str) -> BatchState | None:
        """What has become of a batch; `None` where the service does not know it.

        Raises:
            RunStoppedError: the service refuses, or does not answer.
        """
        reply = await self._asked("GET", f"{_PATH}/{quote(batch_id, safe='')}")
        return None if reply.status == 404 else self._read(reply)

    async def cancel(self, batch_id: str) -> BatchState | None:
        """Has a batch end early: what is answered by then is kept and billed. One that has ended stays as it is.

        `None` as in `look`.

        Raises:
            RunStoppedError: as `look`.
        """
        reply = await self._asked("POST", f"{_PATH}/{quote(batch_id, safe='')}/cancel", taken=(200, 400, 404, 409))
        return self._read(reply) if reply.status == 200 else await self.look(batch_id)

    async def since(self, moment: datetime) -> list[BatchState]:
        """The account's batches created at that moment or later, newest first; other programs' are among them.

        Raises:
            RunStoppedError: as `look`.
        """
        found: list[BatchState] = []
        after = ""
        while True:
            reply = await self._asked("GET", f"{_PATH}?limit={_PAGE}{after}")
            page = parse_json(reply.body)
            entries = page.get("data") if isinstance(page, dict) else None
            if reply.status != 200 or not isinstance(page, dict) or not isinstance(entries, list):
                raise RunStoppedError(f"GET {_PATH}: no list of batches came (HTTP {reply.status})")
            states = [state for state in map(parse_state, entries) if state is not None]
            found += [state for state in states if state.created_at is None or state.created_at >= moment]
            is_past = any(state.created_at is not None and state.created_at < moment for state in states)
            last = page.get("last_id")
            if is_past or page.get("has_more") is not True or not isinstance(last, str) or not last:
                return found
            after = f"&after_id={quote(last, safe='')}"

    async def results(self, state: BatchState) -> AsyncGenerator[bytes]:
        """The lines of an ended batch's results as they arrive, in the service's order, the key masked in them.

        Raises:
            Unanswered: they were cut off.
            RunStoppedError: they are refused, or lie at another host than the service's, which gets no key.
        """
        path = self._path_of_results(state)
        headers = {"accept": "application/binary"}
        async with self._session.streamed("GET", path, None, headers) as response:
            if response.status_code != 200:
                with anyio.fail_after(_SILENCE_S):
                    raw = await response.aread()
                raise _refused("GET", path, Reply(response.status_code, dict(response.headers), raw[:100_000]))
            async for line in _lines(response.aiter_raw()):
                yield self._session.masked(line)

    def _path_of_results(self, state: BatchState) -> str:
        """The path below the base URL; the service tells an absolute URL.

        Raises:
            RunStoppedError: it is another host's.
        """
        if state.results_url is None:
            return f"{_PATH}/{quote(state.batch_id, safe='')}/results"
        if _origin(state.results_url, self._base_url) != _origin(self._base_url):
            text = "".join(character for character in state.results_url if character.isprintable())
            place = text.partition("?")[0].rpartition("@")[2][:200]
            raise RunStoppedError(
                f"batch {state.batch_id}: its results lie at {place}, not at api.base_url's host; not fetched: the key "
                "goes nowhere else"
            )
        told, own = urlsplit(urljoin(self._base_url, state.results_url)), urlsplit(self._base_url)
        prefix = own.path.rstrip("/")
        path = told.path.removeprefix(prefix) if told.path.startswith(f"{prefix}/") else told.path
        return f"{path}?{told.query}" if told.query else path

    async def _sent(self, body: Path, size: int) -> Reply:
        headers = {"content-length": str(size)}
        async with (
            await anyio.open_file(body, "rb") as file,
            self._session.streamed("POST", _PATH, _pieces(file), headers) as response,
        ):
            raw = b"".join([piece async for piece in _bounded(response.aiter_raw())])
            return Reply(response.status_code, dict(response.headers), self._session.masked(raw))

    async def _asked(self, method: str, path: str, taken: Container[int] = (200, 404)) -> Reply:
        """A free request, retried as its failures allow; answers of these statuses are taken."""

        async def once() -> Reply:
            try:
                ask = self._session.get(path) if method == "GET" else self._session.post(path, b"")
                reply = await ask
            except Unanswered as error:
                raise AttemptFailedError(Verdict.unanswered(error.error_type, str(error))) from error
            if reply.status in taken:
                return reply
            said = parse_error(reply.body, reply.status)
            raise AttemptFailedError(judge(reply.status, said, reply.headers, datetime.now(UTC)))

        try:
            async for attempt in retrying(self._retry, self._chance, sleep=self._sleep):
                with attempt:
                    return await once()
        except AttemptFailedError as error:
            said = f"{error.verdict.error_type}: {error.verdict.message}"
            raise RunStoppedError(f"{method} {path}: {said}; batches in flight stay there: run again") from error
        raise AssertionError("tenacity ends with a result or an error")

    def _read(self, reply: Reply) -> BatchState:
        state = parse_state(parse_json(reply.body))
        if state is None:
            raise RunStoppedError("the service answers what is no batch; is there a Batches API at api.base_url?")
        return state


def _not_created(reply: Reply) -> Exception:
    """What an answer that is no 200 means for the batch: a failure of the service may have come after its creation."""
    verdict = judge(reply.status, parse_error(reply.body, reply.status), reply.headers, datetime.now(UTC))
    said = f"{verdict.error_type}: {verdict.message}"
    if reply.status == 413:
        return BatchTooLargeError(said)
    if verdict.limited:
        return TryLaterError(said, verdict.wait_s, limited=True)
    if verdict.action is Action.RETRY or reply.status >= 500:
        return CreationUnknownError(said)
    return _refused("POST", _PATH, reply)


def _refused(method: str, path: str, reply: Reply) -> RunStoppedError | Unanswered:
    verdict = judge(reply.status, parse_error(reply.body, reply.status), reply.headers, datetime.now(UTC))
    if verdict.action is Action.RETRY:
        return Unanswered(ErrorType.CONNECTION_ERROR, f"{verdict.error_type}: {verdict.message}", sent=True)
    hint = "; is there a Batches API at api.base_url?" if reply.status == 404 else ""
    return RunStoppedError(f"{method} {path}: {verdict.error_type} (HTTP {reply.status}): {verdict.message}{hint}")


def _origin(url: str, base: str = "") -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port, `None` of what is no URL."""
    try:
        parts = urlsplit(urljoin(base, url))
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None


async def _pieces(file: anyio.AsyncFile[bytes]) -> AsyncIterator[bytes]:
    while piece := await file.read(_PIECE_BYTES):
        yield piece


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > MAX_ANSWER_BYTES:
            return
        yield chunk


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of a stream; of one that is longer than any answer nothing is kept but that it was there.

    Raises:
        Unanswered: nothing came for too long.
    """
    rest = bytearray()
    while True:
        chunk = b""
        with anyio.move_on_after(_SILENCE_S) as waited:
            chunk = await anext(chunks, b"")
        if waited.cancelled_caught:
            raise Unanswered(ErrorType.TIMEOUT, f"the results brought nothing for {_SILENCE_S:g} s", sent=True)
        if not chunk:
            break
        rest += chunk
        if b"\n" in chunk:
            *whole, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            for line in filter(bytes.strip, whole):
                yield line
        del rest[MAX_ANSWER_BYTES + 1 :]
    if rest.strip():
        yield bytes(rest)
