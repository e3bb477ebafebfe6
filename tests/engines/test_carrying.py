"""How images reach the service, and what is done, once each, when it does not take them that way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.jobs import make_job
from support.open_runs import Standing, open_run

from pipeline.api.client import FileGoneError, RequestTooLargeError
from pipeline.api.files import FileUploader
from pipeline.api.transport import open_session
from pipeline.engines.carrying import Carrier, names_files
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import AnswerError, RunStoppedError
from pipeline.records import ImageLink, ImageRecord, PreparedImage
from pipeline.standin.server import StandinServer
from pipeline.store.uploads import Uploads

pytestmark = pytest.mark.anyio
GONE = FileGoneError("not_found_error", "no such file", http_status=404)
LARGE = RequestTooLargeError("request_too_large", "too large", http_status=413)
BAD = AnswerError("invalid_request_error", "no", http_status=400)
FAULT = AnswerError("api_error", "failed", http_status=500)


class Carriage:
    """A carrier, a run that stands open, and one item of it."""

    def __init__(self, run: Standing, uploader: FileUploader, ready: ReadyItem) -> None:
        self.run, self.uploader, self.ready = run, uploader, ready

    def carrier(self, *, files: bool = True, falls_back: bool = True) -> Carrier:
        """One that uploads, or one that sends images in the request."""
        return Carrier(self.run.stages.preparer, self.uploader if files else None, falls_back=falls_back)


@asynccontextmanager
async def carriage(folder: Path, server: StandinServer, path: str = "") -> AsyncIterator[Carriage]:
    """A job with a picture; below `path` there is no Files API."""
    job = make_job(folder / "job", server.url + path, images=1, settings={"retry": {"max_attempts": 1}})
    async with open_run(job) as run:
        plan, stages = run.opened.plan, run.stages
        async with open_session(plan.endpoints()[0], 2) as session:
            memory = Uploads(stages.ledger, plan.config.api.base_url)
            uploader = FileUploader(session, memory, stages.pacer, plan.config.retry)
            ((key, item),) = next(stages.batches)
            yield Carriage(run, uploader, await stages.preparer.prepare(key, item))


def linked(at: Carriage, *links: ImageLink | None) -> ReadyItem:
    """The item with its picture behind a link."""
    (image,) = at.ready.images
    images = [PreparedImage(image.body, image.record, image.thumbnail, link) for link in links]
    return at.run.stages.preparer.with_images(at.ready, images)


async def test_images_are_uploaded_once_and_named_by_their_file(tmp_path: Path, start_standin: Any) -> None:
    """The same bytes are the same file, in the item's images and in its turns."""
    server = start_standin()
    async with carriage(tmp_path, server) as at:
        assert not names_files(at.ready)
        first, second = await at.carrier().loaded(at.ready), await at.carrier().loaded(at.ready)
        assert server.service.files.uploads == 1
        assert first == second
        (image,) = first.images
        assert names_files(first)
        assert image.link is not None
        assert (image.link.kind, image.body, image.record) == ("file", at.ready.images[0].body, at.ready.records[0])
        assert first.plan.images == ((image,),)


async def test_what_travels_in_the_request_is_left_as_it_is(tmp_path: Path, start_standin: Any) -> None:
    """Nothing is uploaded where nothing should be, nor for an item without images."""
    server = start_standin()
    async with carriage(tmp_path, server) as at:
        assert await at.carrier(files=False).loaded(at.ready) is at.ready
        bare = ReadyItem(at.ready.key, at.ready.item, (), at.ready.plan)
        assert await at.carrier().loaded(bare) is bare
        assert server.service.files.uploads == 0
        assert not names_files(linked(at, ImageLink("url", "https://example.org/a.jpg")))


async def test_a_file_that_is_refused_is_sent_whole_with_a_warning(tmp_path: Path, start_standin: Any) -> None:
    """Where it may not be, the item fails, with what the service said."""
    server = start_standin()
    async with carriage(tmp_path, server, "/elsewhere") as at:
        sent = await at.carrier().loaded(at.ready)
        (image,) = sent.images
        assert (image.link, image.body) == (None, at.ready.images[0].body)
        assert image.record.warnings == ("file_refused",)
        with pytest.raises(AnswerError, match="the image was refused as a file") as raised:
            await at.carrier(falls_back=False).loaded(at.ready)
        assert (raised.value.error_type, raised.value.retryable) == ("invalid_request_error", False)


async def test_a_refused_key_is_no_fault_of_the_item(tmp_path: Path, start_standin: Any) -> None:
    """The run stops."""
    async with carriage(tmp_path, start_standin(keys=frozenset({"another-key"}))) as at:
        with pytest.raises(RunStoppedError, match="POST /v1/files"):
            await at.carrier().loaded(at.ready)


async def test_files_that_are_gone_are_uploaded_again_once(tmp_path: Path, start_standin: Any) -> None:
    """Under a new id; if that is gone too, there is nothing left to try."""
    server = start_standin()
    async with carriage(tmp_path, server) as at:
        carrier, tried = at.carrier(), set[str]()
        before = await carrier.loaded(at.ready)
        after = await carrier.mended(before, GONE, tried)
        assert after is not None
        assert names_files(after)
        assert after.images[0].link != before.images[0].link
        assert server.service.files.uploads == 2
        assert await carrier.mended(after, GONE, tried) is None
        assert server.service.files.uploads == 2


@pytest.mark.parametrize("kind", ["url", "file"])
@pytest.mark.parametrize("error", [BAD, LARGE])
async def test_links_that_are_refused_are_sent_whole(
    tmp_path: Path, start_standin: Any, kind: Any, error: AnswerError
) -> None:
    """With a warning on the image that says how it was to travel; never where images may not fall back."""
    async with carriage(tmp_path, start_standin()) as at:
        ready = linked(at, ImageLink(kind, "https://example.org/a.jpg"))
        whole = await at.carrier().mended(ready, error, set())
        assert whole is not None
        assert whole.images[0].link is None
        assert whole.images[0].body == at.ready.images[0].body
        assert whole.records[0].warnings == (f"{kind}_refused",)
        if error is BAD:
            assert await at.carrier(falls_back=False).mended(ready, error, set()) is None


async def test_an_image_behind_a_url_is_read_when_it_has_to_be_sent(tmp_path: Path, start_standin: Any) -> None:
    """Until then nothing is known of it."""
    async with carriage(tmp_path, start_standin()) as at:
        link = ImageLink("url", "https://example.org/a.jpg")
        unread = PreparedImage(b"", ImageRecord("item-000.jpg"), link=link)
        ready = at.run.stages.preparer.with_images(at.ready, [unread])
        whole = await at.carrier().mended(ready, BAD, set())
        assert whole is not None
        assert whole.images[0].body == at.ready.images[0].body
        assert whole.records[0].sent_sha256 == at.ready.records[0].sent_sha256


async def test_what_is_too_large_is_made_smaller_once(tmp_path: Path, start_standin: Any) -> None:
    """An item without images cannot be."""
    async with carriage(tmp_path, start_standin()) as at:
        carrier, tried = at.carrier(files=False), set[str]()
        less = await carrier.mended(at.ready, LARGE, tried)
        assert less is not None
        assert (less.records[0].sent_width or 0) < (at.ready.records[0].sent_width or 0)
        assert less.records[0].warnings == ("shrunk_for_request",)
        assert await carrier.mended(less, LARGE, tried) is None
        bare = ReadyItem(at.ready.key, at.ready.item, (), at.ready.plan)
        assert await carrier.mended(bare, LARGE, set()) is None


async def test_each_remedy_is_tried_once_whatever_goes_wrong_in_what_order(tmp_path: Path, start_standin: Any) -> None:
    """Of every four failures: a remedy adds its name, no remedy is left after three, and no other failure has one."""
    async with carriage(tmp_path, start_standin()) as at:
        start = await at.carrier().loaded(at.ready)
        for errors in product([GONE, LARGE, BAD, FAULT], repeat=4):
            ready, tried, mended = start, set[str](), 0
            for error in errors:
                before = set(tried)
                found = await at.carrier().mended(ready, error, tried)
                assert len(tried) == len(before) + (found is not None)
                assert found is None or error is not FAULT
                mended, ready = mended + (found is not None), found or ready
            assert mended == len(tried) <= 3
            assert errors.count(LARGE) < 2 or len(tried) >= 2
