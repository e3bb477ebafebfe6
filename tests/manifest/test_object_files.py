"""Objects read in parts from a real S3 server."""

import io

import obstore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.buckets import environment, filled_bucket

from pipeline.manifest.object_files import ObjectFile, opened_object
from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError

BODY = bytes(range(256)) * 40


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectUrl:
    """An object of 10,240 bytes."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    bucket = filled_bucket(f"files-{abs(hash(request.node.nodeid)) % 10**9}", {"a b#%.bin": BODY, "empty": b""})
    return ObjectUrl.parse(f"{bucket}/a b#%.bin")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 11_000)), min_size=1, max_size=4))
def test_any_part_is_what_a_slice_would_be(url: ObjectUrl, parts: list[tuple[int, int]]) -> None:
    """Before, across and behind the end."""
    file = ObjectFile(ObjectStores(), url)
    assert file.size == len(BODY)
    for offset, size in parts:
        assert file.read(offset, size) == BODY[offset : offset + size]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-300, 300), st.integers(-1, 600)), max_size=8))
def test_it_can_be_used_as_a_file(url: ObjectUrl, steps: list[tuple[int, int, int]]) -> None:
    """Seeking and reading in any order gives what a file in memory gives."""
    with opened_object(ObjectStores(), url) as far, io.BytesIO(BODY) as near:
        for whence, offset, size in steps:
            start = {0: 0, 1: near.tell(), 2: len(BODY)}[whence]
            if start + offset < 0:
                with pytest.raises((OSError, ValueError)):
                    far.seek(offset, whence)
                continue
            assert far.seek(offset, whence) == near.seek(offset, whence)
            assert far.read(size) == near.read(size)
            assert far.tell() == near.tell()


def test_an_empty_object_has_nothing(url: ObjectUrl) -> None:
    """Not even an error."""
    with opened_object(ObjectStores(), ObjectUrl(url.scheme, url.bucket, "empty")) as file:
        assert file.read() == b""


def test_an_object_that_is_replaced_is_an_error(url: ObjectUrl) -> None:
    """Parts of two objects are never put together."""
    stores = ObjectStores()
    file = ObjectFile(stores, url)
    assert file.read(0, 4) == BODY[:4]
    obstore.put(stores.store(url), url.key, BODY[::-1])
    with pytest.raises(OSError, match="replaced while it was read"):
        file.read(4, 4)


def test_what_cannot_be_opened_says_why(url: ObjectUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key, a missing bucket, a key that cannot be one, a store that does not answer or is not set up."""
    for key in ("none", "a/none"):
        with pytest.raises(FileNotFoundError, match="no such object"):
            ObjectFile(ObjectStores(), ObjectUrl(url.scheme, url.bucket, key))
    with pytest.raises(FileNotFoundError):
        ObjectFile(ObjectStores(), ObjectUrl("s3", "no-such-bucket-here", "a"))
    with pytest.raises(OSError, match="cannot be one"):
        ObjectFile(ObjectStores(), ObjectUrl(url.scheme, url.bucket, "../a"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(OSError, match="check its endpoint, credentials and the network"):
        ObjectFile(ObjectStores(attempts=1), url)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match="az://container"):
        ObjectFile(ObjectStores(), ObjectUrl("az", "container", "a"))
