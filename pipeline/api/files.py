"""Images uploaded to the Files API: once for each content, and again once the service has lost or dropped them.

Ids are remembered by the hash of what was uploaded. A file is uploaded with a life of thirty days, so that what a run
leaves behind goes by itself. Uploads are free and have no row in `requests`; where the service does not take one, the
caller sends the image in the request itself. Both dialects of the API answer with the same `id`.
"""

import json
import random
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import anyio

from pipeline.api.messages import parse_error
from pipeline.api.retry import Action, AttemptFailedError, Verdict, judge, retrying
from pipeline.api.transport import Session, Unanswered
from pipeline.durations import parse_moment
from pipeline.errors import RunStoppedError
from pipeline.limits.pacer import Pacer, PacerClosedError
from pipeline.records import PreparedImage
from pipeline.settings import SettingsRetry

__all__ = ["FileUploader", "FilesRefusedError", "UploadMemory", "UploadedFile"]

LIFE_S = 30 * 24 * 3600
"""Of an uploaded file; the service allows an hour to ninety days."""
_MARGIN = timedelta(hours=1)
_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
_STOPS = (401, 402, 403)


class UploadedFile(NamedTuple):
    """A file at the service: its id, and when it goes there (`None`: not told)."""

    file_id: str
    expires_at: datetime | None = None


class UploadMemory(Protocol):
    """Where ids are kept from run to run."""

    async def recall(self, sha256: str) -> UploadedFile | None:
        """The file with these bytes."""

    async def remember(self, sha256: str, file: UploadedFile) -> None:
        """Keeps it, in the place of what was known."""


class FilesRefusedError(Exception):
    """The service did not take a file; the image can be sent in the request itself."""


class FileUploader:
    """Uploads the images of one run.

    Args:
        session: with the service.
        memory: what earlier runs uploaded.
        pacer: asked whether the run still sends anything.
        retry: of failures that pass.
    """

    def __init__(self, session: Session, memory: UploadMemory, pacer: Pacer, retry: SettingsRetry) -> None:
        self._session = session
        self._memory = memory
        self._pacer = pacer
        self._retry = retry
        self._chance = random.Random()  # noqa: S311 - jitter, no secret
        self._busy: dict[str, anyio.Event] = {}
        self._refused: str | None = None

    async def file_id(self, image: PreparedImage, *, gone: str | None = None) -> str:
        """The id of the file with this image, uploaded where there is none.

        Args:
            image: prepared; its body is what is uploaded.
            gone: the id that the service no longer knows.

        Raises:
            FilesRefusedError: the service does not take it.
            RunStoppedError: no retry can mend it.
            PacerClosedError: the run drains.
        """
        name = str(image.record.sent_sha256)
        while name in self._busy:
            await self._busy[name].wait()
        self._busy[name] = done = anyio.Event()
        try:
            known = await self._memory.recall(name)
            if known is not None and known.file_id != gone and not _is_ending(known):
                return known.file_id
            file = await self._uploaded(name, image)
            await self._memory.remember(name, file)
            return file.file_id
        finally:
            del self._busy[name]
            done.set()

    async def _uploaded(self, name: str, image: PreparedImage) -> UploadedFile:
        if self._refused is not None:
            raise FilesRefusedError(self._refused)
        loop = retrying(self._retry, self._chance, sleep=self._pacer.sleep)
        try:
            async for attempt in loop:
                with attempt:
                    return await self._once(name, image)
        except AttemptFailedError as error:
            raise self._final(error.verdict) from error
        raise AssertionError("tenacity ends with a result or an error")

    async def _once(self, name: str, image: PreparedImage) -> UploadedFile:
        if self._pacer.closed:
            raise PacerClosedError
        body, content_type = _form(name, image)
        try:
            reply = await self._session.post("/v1/files", body, content_type=content_type)
        except Unanswered as error:
            raise AttemptFailedError(Verdict.unanswered(error.error_type, str(error))) from error
        if reply.status != 200:
            said = parse_error(reply.body, reply.status)
            raise AttemptFailedError(judge(reply.status, said, reply.headers, datetime.now(UTC)))
        file = _file(reply.body)
        if file is None:
            raise AttemptFailedError(Verdict(Action.FAIL, "bad_response", "the answer names no file"))
        return file

    def _final(self, verdict: Verdict) -> Exception:
        said = f"{verdict.error_type}: {verdict.message}"
        if verdict.action is not Action.STOP:
            return FilesRefusedError(said)
        if verdict.http_status in _STOPS or verdict.http_status == 429:
            return RunStoppedError(f"POST /v1/files: {said} (HTTP {verdict.http_status})")
        self._refused = said  # there is no Files API here, so the next image need not ask
        return FilesRefusedError(said)


def _is_ending(file: UploadedFile) -> bool:
    return file.expires_at is not None and file.expires_at - _MARGIN <= datetime.now(UTC)


def _form(name: str, image: PreparedImage) -> tuple[bytes, str]:
    """A multipart form with the file, and its content type; the boundary is random, so the image cannot hold it."""
    boundary = secrets.token_hex(24)
    kind = str(image.record.sent_media_type)
    file = f'Content-Disposition: form-data; name="file"; filename="{name}.{_SUFFIXES.get(kind, "bin")}"'
    life = 'Content-Disposition: form-data; name="expires_in_seconds"'
    body = b"".join(
        [
            f"--{boundary}\r\n{life}\r\n\r\n{LIFE_S}\r\n".encode(),
            f"--{boundary}\r\n{file}\r\nContent-Type: {kind}\r\n\r\n".encode(),
            image.body,
            f"\r\n--{boundary}--\r\n".encode(),
        ]
    )
    return body, f"multipart/form-data; boundary={boundary}"


def _file(raw: bytes) -> UploadedFile | None:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("id"), str) or not said["id"]:
        return None
    return UploadedFile(said["id"], parse_moment(said.get("expires_at")))
