"""Places in an object store."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from support.bad_bucket import BadBucket
from support.buckets import environment, filled_bucket

from pipeline.errors import OutputError
from pipeline.store.buckets import BucketPath, ConflictError, is_remote, place_of
from pipeline.store.parts import is_whole, list_parts, opened_part, stamp_of, write_part, write_whole
from pipeline.store.schema import Kind

TABLE = pa.table({"n": range(1000), "text": [os.urandom(2000) for _ in range(1000)]})


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadBucket]:
    """The server, with a proxy before it that does as it is told."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with BadBucket(environment()["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def place(bad: BadBucket) -> BucketPath:
    """An empty prefix of a new bucket."""
    return BucketPath.parse(f"{filled_bucket(f'b-{uuid4().hex}', {})}/some/where")


@pytest.mark.parametrize("text", ["s3://bucket/a/b", "s3:/bucket/a/b", "S3://bucket/a/b/"])
def test_a_url_is_a_place_also_after_pathlib_had_it(text: str) -> None:
    """The command line makes paths of its arguments, and with them one slash of two."""
    for given in (text, Path(text)):
        assert str(place_of(given)) == "s3://bucket/a/b"
    assert is_remote(text)
    assert place_of("out/s3").__class__ is type(Path())


def test_a_url_that_names_no_bucket_is_refused() -> None:
    """The message says what a place looks like."""
    with pytest.raises(OutputError, match=r"s3://: is no place.*s3://bucket/key"):
        place_of("s3://")


def test_places_are_put_together_as_paths_are(place: BucketPath) -> None:
    """Names, parents and order."""
    path = place / "results" / "part-1.parquet"
    assert (path.name, path.parent, str(path)) == (
        "part-1.parquet",
        place / "results",
        f"{place}/results/part-1.parquet",
    )
    assert path < place / "results" / "part-2.parquet"
    assert len({path, place / "results" / "part-1.parquet"}) == 1


def test_what_is_put_is_found_listed_and_removed(place: BucketPath) -> None:
    """A folder is there with its first object; a listing names what is directly under it."""
    assert not place.exists()
    write_whole(place / "runs" / "a.json", b"{}")
    write_whole(place / "runs" / "deeper" / "b.json", b"{}")
    assert (place.is_dir(), place.is_file(), (place / "runs" / "a.json").is_file()) == (True, False, True)
    assert [path.name for path in (place / "runs").glob("*.json")] == ["a.json"]
    assert (place / "runs").folders() == ["deeper"]
    assert (place / "runs" / "a.json").read_bytes() == b"{}"
    (place / "runs" / "a.json").unlink()
    assert not (place / "runs" / "a.json").is_file()
    with pytest.raises(FileNotFoundError):
        (place / "runs" / "a.json").read_bytes()
    with pytest.raises(FileNotFoundError):
        (place / "runs" / "a.json").unlink()


def test_a_part_is_put_whole_and_read_by_its_columns(place: BucketPath) -> None:
    """A large one goes up in pieces and comes down in ranges; its stamp is that of the listing."""
    path = place / "results" / "part-1.parquet"
    stamp = write_part(path, TABLE.schema, [TABLE, TABLE], "none")
    assert stamp.bytes > 3_000_000
    (listed,) = list_parts(place, Kind.RESULTS)
    assert stamp_of(listed) == stamp_of(path) == stamp
    assert is_whole(path)
    assert is_whole(path, ["n"])
    with opened_part(path) as part:
        assert part.read(columns=["n"])["n"].to_pylist() == [*range(1000), *range(1000)]
    write_whole(path, b"no part")
    assert not is_whole(path)
    assert stamp_of(path) != stamp


def test_a_part_that_fails_while_it_is_made_is_never_seen(place: BucketPath) -> None:
    """There is nothing in its place, and nothing left on this machine."""

    def tables() -> Iterator[pa.Table]:
        yield TABLE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_part(place / "results" / "part-1.parquet", TABLE.schema, tables(), "zstd")
    assert not place.exists()
    assert list(place.state.iterdir()) == []


def test_a_pinned_object_is_replaced_only_as_it_was(place: BucketPath) -> None:
    """Of two that rewrite the same part the second hears of the first."""
    path = place / "a"
    path.write(b"1")
    mine, theirs = path.pinned(), path.pinned()
    theirs.replace(io.BytesIO(b"22"))
    with pytest.raises(ConflictError):
        mine.replace(io.BytesIO(b"3"))
    with pytest.raises(ConflictError):
        path.write(b"4", mode="create")
    assert path.read_bytes() == b"22"


@pytest.mark.parametrize("fault", ["slow_down", "cut", "unheard"])
def test_requests_that_fail_for_a_while_are_sent_again(place: BucketPath, bad: BadBucket, fault: str) -> None:
    """A store that says "slow down", uploads that are cut off, and answers that are lost."""
    setattr(bad, fault, 2)
    stamp = write_part(place / "results" / "part-1.parquet", TABLE.schema, [TABLE], "none")
    assert getattr(bad, fault) == 0
    assert is_whole(place / "results" / "part-1.parquet")
    assert stamp_of(place / "results" / "part-1.parquet") == stamp


def test_a_store_that_refuses_is_told_as_a_disk_is(place: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `OSError` that names the place, and no key."""
    nowhere = BucketPath.parse("s3://no-such-bucket-anywhere/x")
    with pytest.raises(OSError, match="there is no such bucket") as caught:
        nowhere.write(b"1")
    assert "no-such-bucket-anywhere" in str(caught.value)
    assert "testing" not in str(caught.value)


def test_a_guard_is_asked_before_anything_is_put(place: BucketPath) -> None:
    """What it forbids does not get there."""

    def refuse(key: str) -> None:
        raise OSError(0, key)

    place.bucket.guard = refuse
    with pytest.raises(OSError, match="some/where/runs/a"):
        write_whole(place / "runs" / "a", b"1")
    assert not place.exists()


def test_each_output_has_a_folder_of_its_own_on_a_machine(place: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same URL at another server is another output."""
    mine = place.state
    assert mine != (place / "x").state
    assert mine.parent == Path(os.environ["XDG_STATE_HOME"]) / "pipeline"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert place.state != mine
