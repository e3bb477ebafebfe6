"""Images in a bucket: read whole from a real S3 server, with the failures of each kind."""

import pytest
from support.buckets import environment, filled_bucket

from pipeline.errors import ErrorType, ImageError
from pipeline.images.objects import ObjectReader

pytestmark = pytest.mark.anyio

OBJECTS = {"a.jpg": b"picture", "deep/er/ü %20#?+&.png": b"odd", "empty": b"", "large": bytes(3_000_001)}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of a bucket with these objects."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return filled_bucket(f"images-{abs(hash(request.node.nodeid)) % 10**9}", OBJECTS)


@pytest.fixture
async def reader() -> ObjectReader:
    """Reads up to three million bytes."""
    return ObjectReader(3_000_000)


async def _failure(reader: ObjectReader, url: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await reader.read(url)
    return caught.value


async def test_objects_are_read_by_their_keys(bucket: str, reader: ObjectReader) -> None:
    """Whatever stands in a key, its object's bytes come back."""
    for key in ("a.jpg", "deep/er/ü %20#?+&.png", "empty"):
        assert await reader.read(f"{bucket}/{key}") == OBJECTS[key]
    assert await ObjectReader(3_000_001).read(f"{bucket}/large") == OBJECTS["large"]


async def test_what_cannot_be_read_fails_by_its_own_type(bucket: str, reader: ObjectReader) -> None:
    """No such object, one too large, no key, a name that is no bucket, a key that cannot be one."""
    kinds = {
        f"{bucket}/none.jpg": ErrorType.IMAGE_MISSING,
        "s3://no-such-bucket-here/a.jpg": ErrorType.IMAGE_MISSING,
        f"{bucket}/large": ErrorType.IMAGE_TOO_LARGE,
        f"{bucket}/": ErrorType.IMAGE_REFUSED,
        "s3://user@host/a.jpg": ErrorType.IMAGE_REFUSED,
        f"{bucket}/../secret": ErrorType.IMAGE_MISSING,
    }
    for url, kind in kinds.items():
        error = await _failure(reader, url)
        assert error.error_type == kind, url
        assert not error.retryable
        assert url in str(error)


async def test_a_store_that_does_not_answer_is_worth_another_run(
    bucket: str, reader: ObjectReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens, the failure is one that the next run takes up by itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = await _failure(reader, f"{bucket}/a.jpg")
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert error.retryable


async def test_a_store_without_settings_says_so(reader: ObjectReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without an account fails the row, for good, and names the reason."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    error = await _failure(reader, "az://container/a.jpg")
    assert error.error_type == ErrorType.IMAGE_FETCH_FAILED
    assert not error.retryable
    assert "Account" in str(error)
