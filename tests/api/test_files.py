"""Uploads: once for each content, again where the service lost it, and what a refusal means."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from support.asking import picture
from support.web import Web, reply

from pipeline.api.files import FilesRefusedError, FileUploader, UploadedFile
from pipeline.api.transport import Endpoint, open_session
from pipeline.errors import RunStoppedError
from pipeline.limits.pacer import Pacer, PacerClosedError
from pipeline.records import ImageRecord, PreparedImage
from pipeline.settings import SettingsLimits, SettingsRetry

pytestmark = pytest.mark.anyio
HEADERS = {"x-api-key": "sk-test-0123456789", "anthropic-version": "2023-06-01", "content-type": "application/json"}
UPLOADED = reply(b'{"id": "file_1", "type": "file", "expires_at": "2030-01-01T00:00:00Z"}')


class Memory:
    """Ids in a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, UploadedFile] = {}

    async def recall(self, sha256: str) -> UploadedFile | None:
        """The file with these bytes."""
        return self.files.get(sha256)

    async def remember(self, sha256: str, file: UploadedFile) -> None:
        """Keeps it."""
        self.files[sha256] = file


def image(name: str = "one") -> PreparedImage:
    """A prepared picture whose hash is its name."""
    return PreparedImage(picture(), ImageRecord(name, sent_sha256=name, sent_media_type="image/png"))


@asynccontextmanager
async def uploading(url: str, memory: Memory, attempts: int = 3) -> AsyncIterator[tuple[FileUploader, Pacer]]:
    """An uploader for a server, and the pacer that it asks."""
    pacer = Pacer(SettingsLimits())
    retry = SettingsRetry(max_attempts=attempts, max_wait_seconds=0)
    async with open_session(Endpoint(url, HEADERS, 10), 8) as session:
        yield FileUploader(session, memory, pacer, retry), pacer


async def test_the_form_carries_file_type_and_life(start_standin: Any) -> None:
    """The stand-in takes it, keeps the bytes, and the id is remembered with its end."""
    server, memory, one = start_standin(), Memory(), image()
    async with uploading(server.url, memory) as (uploader, _):
        file_id = await uploader.file_id(one)
    stored = server.service.files.get(file_id)
    assert (stored.body, stored.mime_type, stored.filename) == (one.body, "image/png", "one.png")
    known = memory.files["one"]
    assert known.file_id == file_id
    assert known.expires_at is not None
    assert timedelta(days=29) < known.expires_at - datetime.now(UTC) <= timedelta(days=30)


async def test_many_that_ask_at_once_are_one_upload(start_standin: Any) -> None:
    """The others wait for the first, and none of them uploads again."""
    server, found = start_standin(), list[str]()
    async with uploading(server.url, Memory()) as (uploader, _), anyio.create_task_group() as tasks:

        async def ask() -> None:
            found.append(await uploader.file_id(image()))

        for _ in range(10):
            tasks.start_soon(ask)
    assert (len(found), len(set(found)), server.service.files.uploads) == (10, 1, 1)


async def test_an_id_that_is_gone_or_ending_is_renewed_once(start_standin: Any) -> None:
    """Of two that found it gone the second takes what the first brought."""
    server, memory = start_standin(), Memory()
    memory.files["one"] = UploadedFile("file_old")
    memory.files["two"] = UploadedFile("file_late", datetime.now(UTC) + timedelta(minutes=5))
    memory.files["three"] = UploadedFile("file_good", datetime.now(UTC) + timedelta(days=5))
    async with uploading(server.url, memory) as (uploader, _):
        assert await uploader.file_id(image("one")) == "file_old"
        first = await uploader.file_id(image("one"), gone="file_old")
        assert await uploader.file_id(image("one"), gone="file_old") == first != "file_old"
        assert await uploader.file_id(image("two")) != "file_late"
        assert await uploader.file_id(image("three")) == "file_good"
    assert server.service.files.uploads == 2


async def test_what_passes_is_retried() -> None:
    """An overloaded service and a broken connection cost an attempt each."""
    busy = reply(b"{}", "529 Overloaded")
    with Web({"/v1/files": [busy, b"", UPLOADED]}) as web:
        async with uploading(web.url, Memory()) as (uploader, _):
            assert await uploader.file_id(image()) == "file_1"
        assert len(web.requests) == 3


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (reply(b"{}", "400 Bad Request"), 2),
        (reply(b"{}", "413 Too Large"), 2),
        (reply(b"{}", "404 Not Found"), 1),
        (reply(b'{"id": 7}'), 2),
        (reply(b"["), 2),
        (reply(b"{}", "503 Unavailable"), 4),
    ],
)
async def test_a_file_that_is_not_taken_is_no_end_of_the_run(answer: bytes, requests: int) -> None:
    """Where there is no Files API at all, the next picture does not ask again."""
    with Web({"/v1/files": answer}) as web:
        async with uploading(web.url, Memory(), attempts=2) as (uploader, _):
            for name in ("one", "two"):
                with pytest.raises(FilesRefusedError):
                    await uploader.file_id(image(name))
        assert len(web.requests) == requests


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "402 Payment Required"])
async def test_a_refused_key_stops_the_run(status: str) -> None:
    """Sending the picture another way would not help."""
    with Web({"/v1/files": reply(b"{}", status)}) as web:
        async with uploading(web.url, Memory()) as (uploader, _):
            with pytest.raises(RunStoppedError, match="POST /v1/files"):
                await uploader.file_id(image())
        assert len(web.requests) == 1


async def test_a_run_that_drains_uploads_nothing(start_standin: Any) -> None:
    """Known ids are still found."""
    server, memory = start_standin(), Memory()
    memory.files["known"] = UploadedFile("file_known")
    async with uploading(server.url, memory) as (uploader, pacer):
        pacer.close()
        assert await uploader.file_id(image("known")) == "file_known"
        with pytest.raises(PacerClosedError):
            await uploader.file_id(image())
    assert server.service.files.uploads == 0
