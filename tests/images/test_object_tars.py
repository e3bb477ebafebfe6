"""Members of tars in a bucket: read by their place, found once, refused as local ones are."""

import tarfile
from collections import Counter
from io import BytesIO

import anyio
import obstore
import pytest
from support.buckets import environment, filled_bucket

from pipeline.errors import ErrorType, ImageError
from pipeline.images.object_tars import ObjectTarReader
from pipeline.images.objects import ObjectReader
from pipeline.manifest.objects import ObjectStores, ObjectUrl

pytestmark = pytest.mark.anyio
LARGE = bytes(range(256)) * 12_000
MEMBERS = {"a.jpg": b"picture", "deep/ü #?.png": b"odd", "empty": b"", "large": LARGE, "after.jpg": b"behind it"}


def tarred(members: dict[str, bytes]) -> bytes:
    """A tar of these members, with a link and a folder among them."""
    sink = BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, body in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, BytesIO(body))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    return sink.getvalue()


TAR = tarred(MEMBERS)
OBJECTS = {"s/0.tar": TAR, "cut.tar": TAR[:-40_000], "none.tar": b"x" * 5000, "none": b""}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of a bucket with these tars."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return filled_bucket(f"tars-{abs(hash(request.node.nodeid)) % 10**9}", OBJECTS)


def reader_of(max_bytes: int = 4_000_000, attempts: int = 4) -> ObjectTarReader:
    """Reads members of up to so many bytes."""
    stores = ObjectStores(attempts=attempts)
    return ObjectTarReader(ObjectReader(max_bytes, stores), max_bytes, stores)


async def failure(reader: ObjectTarReader, source: str, member: str) -> ImageError:
    """The error that reading ends with."""
    with pytest.raises(ImageError) as caught:
        await reader.read(source, member)
    return caught.value


async def test_members_are_read_by_name(bucket: str) -> None:
    """Each gives its own bytes, those behind a large one too."""
    reader = reader_of()
    for name, body in MEMBERS.items():
        assert await reader.read(f"{bucket}/s/0.tar", name) == body


async def test_many_members_at_once_are_each_their_own(bucket: str) -> None:
    """However many are asked for at a time, by one reader."""
    reader, found = reader_of(), Counter[bytes]()

    async def one(name: str) -> None:
        found[await reader.read(f"{bucket}/s/0.tar", name)] += 1

    async with anyio.create_task_group() as group:
        for name in list(MEMBERS) * 8:
            group.start_soon(one, name)
    assert found == Counter(dict.fromkeys(MEMBERS.values(), 8))


async def test_what_cannot_be_read_fails_by_its_own_type(bucket: str) -> None:
    """As a member of a local tar does, and as an object does; the message names tar and member."""
    kinds = {
        (f"{bucket}/s/0.tar", "none.jpg"): ErrorType.IMAGE_MISSING,
        (f"{bucket}/s/0.tar", "folder"): ErrorType.IMAGE_MISSING,
        (f"{bucket}/s/0.tar", "link.jpg"): ErrorType.IMAGE_REFUSED,
        (f"{bucket}/s/1.tar", "a.jpg"): ErrorType.IMAGE_MISSING,
        (f"{bucket}/none.tar", "a.jpg"): ErrorType.IMAGE_CORRUPT,
        ("s3://user@host/0.tar", "a.jpg"): ErrorType.IMAGE_REFUSED,
    }
    reader = reader_of()
    for (source, member), kind in kinds.items():
        error = await failure(reader, source, member)
        assert error.error_type == kind, source
        assert f"{source}#{member}" in str(error)
        assert not error.retryable
    assert (await failure(reader_of(1000), f"{bucket}/s/0.tar", "large")).error_type == ErrorType.IMAGE_TOO_LARGE


async def test_a_tar_that_is_cut_gives_no_half_member(bucket: str) -> None:
    """A member whose bytes are not all there fails."""
    assert (await failure(reader_of(), f"{bucket}/cut.tar", "large")).error_type == ErrorType.IMAGE_CORRUPT


async def test_a_tar_that_is_replaced_costs_one_reading_of_it(bucket: str) -> None:
    """No bytes of the new one pass for a member of the old; it is then gone through anew."""
    reader, source = reader_of(), f"{bucket}/s/0.tar"
    assert await reader.read(source, "a.jpg") == b"picture"
    other = tarred({"first.jpg": b"x" * 700, "a.jpg": b"another"})
    obstore.put(ObjectStores().store(ObjectUrl.parse(bucket)), "s/0.tar", other)
    error = await failure(reader, source, "a.jpg")
    assert (error.error_type, error.retryable) == (ErrorType.IMAGE_CORRUPT, True)
    assert await reader.read(source, "a.jpg") == b"another"


async def test_a_store_that_does_not_answer_is_worth_another_run(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run takes the item up by itself, whichever of the two readings failed."""
    known = reader_of(attempts=1)
    assert await known.read(f"{bucket}/s/0.tar", "a.jpg") == b"picture"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = await failure(reader_of(attempts=1), f"{bucket}/s/0.tar", "a.jpg")
    assert (error.error_type, error.retryable) == (ErrorType.IMAGE_FETCH_FAILED, True)
