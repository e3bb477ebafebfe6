"""A create call's body, in pieces: what is taken, and what is refused by its place."""

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.batches.reading import Item, RequestsReader
from pipeline.standin.problems import Problem

TEXTS = st.text(max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1, max_size=4)


def read(pieces: Iterable[bytes], most: int = 100) -> list[Item]:
    """The requests of a body that comes in these pieces."""
    reader = RequestsReader(most)
    found = [item for piece in pieces for item in reader.feed(piece)]
    return found + reader.feed(b"", final=True)


class Counting(RequestsReader):
    """Counts the characters that it looks at."""

    decoded = 0

    def _advance(self, text: str, final: bool) -> tuple[list[Item], int]:
        self.decoded += len(text)
        return super()._advance(text, final)


def request(name: Any = "a", **more: Any) -> dict[str, Any]:
    """A request of a batch, as far as a create call looks at it."""
    return {"custom_id": name, "params": {}, **more}


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.booleans(), st.sampled_from([None, 2]), st.lists(st.integers(0, 2000), max_size=6))
def test_any_body_cut_anywhere_is_read_as_the_whole_would_be(
    params: list[Any], ascii_only: bool, indent: int | None, cuts: list[int]
) -> None:
    """Escapes, wide characters, white space: the requests are those of the whole body, each in the text it came in."""
    requests = [{"custom_id": f"i-{at}", "params": each} for at, each in enumerate(params)]
    try:
        raw = json.dumps({"requests": requests}, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        raw = json.dumps({"requests": requests}, indent=indent).encode()  # a lone surrogate needs its escape
    places = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    found = read(raw[start:end] for start, end in pairwise(places))
    assert [(item.custom_id, item.params) for item in found] == [(f"i-{n}", each) for n, each in enumerate(params)]
    for item in found:
        assert item.raw in raw
        assert json.loads(item.raw) == {"custom_id": item.custom_id, "params": item.params}


@pytest.mark.parametrize("size", [1, 7])
def test_a_body_that_comes_by_the_byte_is_read(size: int) -> None:
    """Numbers, literals and escapes that are cut are not mistaken for wrong ones."""
    params = {"a": [True, False, None, -12.5e-3, '\\"\n\u00e9\U0001f600'], "b": "x" * 400}
    raw = json.dumps({"requests": [{"custom_id": f"i{n}", "params": params} for n in range(3)]}).encode()
    found = read(raw[at : at + size] for at in range(0, len(raw), size))
    assert [item.params for item in found] == [params] * 3


def test_requests_are_there_as_soon_as_they_are_whole() -> None:
    """Nothing waits for the end of the body: a second half does not hold back the first."""
    reader = RequestsReader(9)
    first, second = (json.dumps(request(name)).encode() for name in "ab")
    assert [item.custom_id for item in reader.feed(b'{"requests": [' + first + b"," + second[:9])] == ["a"]
    assert reader._size == 9


def test_a_large_request_is_not_tried_at_every_piece() -> None:
    """One megabyte in a thousand pieces is decoded a few times only, else a body would cost its square."""
    reader = Counting(9)
    raw = json.dumps({"requests": [request(params={"x": "y" * 1_000_000})]}).encode()
    found = [item for at in range(0, len(raw), 1000) for item in reader.feed(raw[at : at + 1000])]
    found += reader.feed(b"", final=True)
    assert len(found) == 1
    assert reader.decoded < 4 * len(raw)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "must be a JSON object"),
        ({}, "requests: Field required"),
        ({"requests": {}}, "requests: Input should be a valid list"),
        ({"requests": []}, "at least 1"),
        ({"other": [1]}, "requests: Field required"),
        ({"other": 1, "requests": [request()]}, "other: Extra inputs"),
        ({"requests": [request()], "other": 1}, "not valid JSON"),
        ({"requests": [1]}, "requests.0: Input should be a valid dictionary"),
        ({"requests": [request("a"), ["b"]]}, "requests.1: Input"),
        ({"requests": [{"params": {}}]}, "requests.0.custom_id: Field required"),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
        ({"requests": [request(params=[])]}, "requests.0.params: Input should be a valid dictionary"),
        ({"requests": [request(other=1)]}, "requests.0.other: Extra inputs"),
        ({"requests": [request(7)]}, "requests.0.custom_id: Input should be a valid string"),
        ({"requests": [request("a"), request("b"), request("a")]}, "requests.2.custom_id: is not unique"),
        ({"requests": [request(f"a{n}") for n in range(6)]}, "at most 5"),
    ],
)
def test_what_is_no_batch_is_refused_by_its_place(body: Any, words: str) -> None:
    """The whole call fails for one wrong request, and the message names it."""
    with pytest.raises(Problem) as caught:
        read([json.dumps(body).encode()], 5)
    assert caught.value.status == 400
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a.b", "a/b", "é", "a\n", "\u0661"])
def test_a_name_of_other_characters_is_refused(name: str) -> None:
    """From 1 to 64 of letters, digits, underscore and hyphen, all of ASCII."""
    with pytest.raises(Problem, match=r"requests\.0\.custom_id: String should match"):
        read([json.dumps({"requests": [request(name)]}).encode()])


@pytest.mark.parametrize("name", ["a", "a" * 64, "A-z_09"])
def test_a_name_within_the_rule_is_taken(name: str) -> None:
    """Up to its last character."""
    assert [item.custom_id for item in read([json.dumps({"requests": [request(name)]}).encode()])] == [name]


GOOD = json.dumps({"requests": [request()]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        GOOD[:-1],
        GOOD[:-2],
        GOOD[:20],
        GOOD + b"x",
        GOOD[:-2] + b",]}",
        GOOD[:-2] + b" {}]}",
        b'{"requests": [{"custom_id": "a", "params": {"x": \xff}}]}',
        b'{"requests": [{"custom_id": "a" "params": {}}' + b" " * 100 + b"]}",
        b'{"requests": [{"custom_id": "a", "params": {"x": ' + b"[" * 100_000 + b"}]}",
        b'{"requests": [{"custom_id": "a", "params": {"x": "' + b"y" * 100_000,
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """Torn, garbled, nested without end: a 400 and no failure of the server."""
    with pytest.raises(Problem) as caught:
        read(raw[at : at + 1000] for at in range(0, len(raw), 1000))
    assert caught.value.status == 400
    assert "Field required" in caught.value.message or "JSON" in caught.value.message


def test_a_mistake_is_found_when_it_has_come() -> None:
    """A body that went wrong long ago is not kept to its end."""
    reader = RequestsReader(9)
    with pytest.raises(Problem, match="not valid JSON"):
        reader.feed(b'{"requests": [{"custom_id" "a"' + b" " * 50)


BODY = json.dumps(
    {"requests": [request(f"i-{n}", params={"x": ["é\\n", n, -1.5e-3, None]}) for n in range(3)]}
).encode()
SIGNS = st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"\xff", b"\xc3", b"\0", b"i-0"])


def read_or_refused(pieces: Iterable[bytes]) -> list[Item] | None:
    """The requests of a body, `None` where it is refused as documented."""
    try:
        return read(pieces)
    except Problem as problem:
        status = problem.status
    assert status == 400
    return None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(BODY)), st.integers(0, 3), SIGNS), min_size=1, max_size=4),
    st.lists(st.integers(0, len(BODY)), max_size=5),
)
def test_a_garbled_body_is_refused_or_read_as_json_reads_it(
    changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Nothing is made of what is no JSON, nothing else than a 400 comes of it, and the pieces make no difference."""
    raw = BODY
    for place, gone, sign in changes:
        raw = raw[:place] + sign + raw[place + gone :]
    places = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    found = read_or_refused(raw[start:end] for start, end in pairwise(places))
    assert found == read_or_refused([raw])
    if found is not None:
        expected = json.loads(raw.decode())["requests"]
        assert [{"custom_id": item.custom_id, "params": item.params} for item in found] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 99))
def test_a_body_that_is_torn_anywhere_is_refused(length: int, size: int) -> None:
    """Only its last sign makes it whole."""
    assert read_or_refused(BODY[at : min(at + size, length)] for at in range(0, length, size)) is None
    assert len(read(BODY[at : at + size] for at in range(0, len(BODY), size))) == 3


def test_a_number_of_more_digits_than_are_read_is_refused() -> None:
    """Reading it would take a time that grows with the square of its length."""
    raw = json.dumps({"requests": [request()]}).replace("{}", '{"x": %s}').encode() % (b"7" * 5000)
    with pytest.raises(Problem, match="not valid JSON"):
        read([raw])


@pytest.mark.parametrize("start", [b"", b'{"requests"', b'{"x": "', b"x"])
@pytest.mark.parametrize("filling", [b" ", b"y"])
def test_a_beginning_without_end_is_refused_soon(start: bytes, filling: bytes) -> None:
    """Where no list of requests has begun after 64 KiB none is waited for."""
    taken: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for piece in [start, *[filling * 1000] * 1000]:
            taken.append(piece)
            yield piece

    with pytest.raises(Problem):
        read(pieces())
    assert sum(map(len, taken)) < 3 * 65_536


def test_what_was_taken_is_not_kept() -> None:
    """Megabytes of requests, and of white space between them, are held one request at a time."""
    reader, found = RequestsReader(1000), 0
    one = json.dumps(request("NAME", params={"x": "y" * 9000})).encode()
    raw = b",".join(one.replace(b"NAME", b"i-%d" % n) + b" " * 20_000 for n in range(100))
    pieces = [b'{"requests": [', *(raw[at : at + 4096] for at in range(0, len(raw), 4096)), b"]}"]
    tracemalloc.start()
    try:
        for piece in pieces:
            found += len(reader.feed(piece))
        found += len(reader.feed(b"", final=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == 100
    assert peak < 300_000
