"""Object stores: what is a URL, where they are, what they list."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.buckets import environment, filled_bucket

from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError, is_object_url


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> ObjectStores:
    """Stores on the server on loopback."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return ObjectStores()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://photos/2024/a.jpg", ("s3", "photos", "2024/a.jpg")),
        ("S3://photos", ("s3", "photos", "")),
        ("gs://my_bucket.example/", ("gs", "my_bucket.example", "")),
        ("az://container/a b%20#?é\n.jpg", ("az", "container", "a b%20#?é\n.jpg")),
    ],
)
def test_a_url_names_bucket_and_key_without_escapes(text: str, parts: tuple[str, ...]) -> None:
    """The key is taken as it stands, whatever is special in other URLs."""
    url = ObjectUrl.parse(text)
    assert (url.scheme, url.bucket, url.key) == parts


@pytest.mark.parametrize(
    "text",
    ["s3:///key", "s3://", "http://host/x", "s3://user:pass@host/x", "s3://host:9000/x", "s3://[::1]/x", "s3://a?b/c"],
)
def test_what_could_name_a_host_is_no_bucket(text: str) -> None:
    """A manifest cannot lead the program to a host of its choice by way of a bucket's name."""
    with pytest.raises(ValueError, match="allowed"):
        ObjectUrl.parse(text)


def test_what_names_a_place_in_a_store() -> None:
    """By its scheme, in either case of letters; files whose names have a colon are none."""
    assert [is_object_url(text) for text in ("s3://b/x", "GS://b", "az://c/", "s3:x", "http://h", "/s3://b")] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_a_url_has_a_folder() -> None:
    """What stands before its last `/`; the bucket itself where there is none."""
    assert ObjectUrl.parse("s3://bucket/a/b.csv").parent.text == "s3://bucket/a/"
    assert ObjectUrl.parse("s3://bucket/b.csv").parent.text == "s3://bucket/"
    assert ObjectUrl.parse("s3://bucket/a/").parent.text == "s3://bucket/a/"


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "..."]), max_size=6).map("/".join), st.booleans())
def test_a_relative_reference_never_leads_out_of_its_folder(reference: str, deep: bool) -> None:
    """However it is written, it means a key below the folder, or it is an error."""
    folder = ObjectUrl("s3", "bucket", "in/z/" if deep else "")
    depth, out = 0, reference.startswith("/")
    for part in reference.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        out = out or depth < 0
    if out or depth == 0:
        with pytest.raises(ValueError, match="leads outside s3://bucket/"):
            folder.below(reference)
        return
    found = folder.below(reference)
    assert f"{found.key}/".startswith(folder.key)
    assert ".." not in found.key.split("/")


def test_objects_below_a_folder_are_listed_with_their_sizes(stores: ObjectStores) -> None:
    """A prefix lists what lies below it, and nothing beside it."""
    many = {f"deep/{index:04}.jpg": b"x" * (index % 7) for index in range(60)}
    url = filled_bucket("listed", {"a.jpg": b"12", "deeper/b.jpg": b"1", **many})
    found = dict(stores.listed(ObjectUrl.parse(f"{url}/deep/")))
    assert found == {key: len(body) for key, body in many.items()}
    assert len(dict(stores.listed(ObjectUrl.parse(url)))) == 62


def test_a_bucket_that_is_not_there_is_an_error(stores: ObjectStores) -> None:
    """Listing says which store failed, in one line."""
    with pytest.raises(StoreError, match="s3://nowhere-at-all") as caught:
        list(stores.listed(ObjectUrl.parse("s3://nowhere-at-all/x")))
    assert "\n" not in str(caught.value)


def test_a_store_that_is_not_set_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account there is no container to ask."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match="az://container"):
        ObjectStores().store(ObjectUrl.parse("az://container/x"))


def test_each_bucket_is_opened_once(stores: ObjectStores) -> None:
    """Two keys of one bucket share its connections; another bucket has its own."""
    first = stores.store(ObjectUrl.parse("s3://one/a"))
    assert stores.store(ObjectUrl.parse("s3://one/b")) is first
    assert stores.store(ObjectUrl.parse("s3://two/a")) is not first


def test_without_the_extra_the_error_says_how_to_install_it() -> None:
    """Where obstore is missing, the first use names the extra."""
    program = (
        "import sys; sys.modules['obstore'] = sys.modules['obstore.store'] = None\n"
        "from pipeline.manifest.objects import ObjectStores, ObjectUrl, StoreError\n"
        "try: ObjectStores().store(ObjectUrl.parse('s3://bucket/a'))\n"
        "except StoreError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "object stores need an extra: pip install 'pipeline[object-stores]'\n"
