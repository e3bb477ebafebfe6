"""Forms taken apart: what was put in comes out byte for byte, and what is no form is a 400."""

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.standin.forms import Part, parts_of
from pipeline.standin.problems import Problem

FENCED = "multipart/form-data; boundary=fence"
NAMES = st.text("abcxyz_-.", min_size=1, max_size=8)
PIECES = st.sampled_from([b"\r\n", b"--", b"fence", b'name="a"', b"Content-Disposition: form-data; ", b"\0\xff", b"x"])
PARTS = st.builds(Part, NAMES, st.lists(PIECES, max_size=6).map(b"".join), st.none() | NAMES, st.none() | NAMES)


def form(*parts: Part) -> bytes:
    """The parts as a client sends them."""
    raw = b""
    for part in parts:
        raw += f'--fence\r\nContent-Disposition: form-data; name="{part.name}"'.encode()
        raw += f'; filename="{part.filename}"'.encode() if part.filename is not None else b""
        raw += f"\r\nContent-Type: {part.content_type}".encode() if part.content_type is not None else b""
        raw += b"\r\n\r\n" + part.body + b"\r\n"
    return raw + b"--fence--\r\n"


def test_a_form_is_taken_apart_byte_for_byte() -> None:
    """Line ends and dashes within a file stay in it."""
    parts = [Part("file", b"\r\n--x\r\n-- \r\n\r\n\x00\xff", "a.bin", "image/png"), Part("note", b"hello")]
    assert parts_of(form(*parts), 'multipart/form-data; boundary="fence"') == parts


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_whatever_parts_hold_they_come_back_as_they_were(parts: list[Part]) -> None:
    """Names, file names, types and bodies; only a line that begins like the fence cannot be in a body."""
    assume(not any(b"\r\n--fence" in b"\r\n" + part.body for part in parts))
    assert parts_of(form(*parts), FENCED) == parts


def test_a_form_of_an_http_client_is_understood() -> None:
    """The fence is the client's own, and fields stand beside files."""
    files = {"file": ("a b.png", b"\x89PNG\r\n", "image/png")}
    request = httpx.Request("POST", "http://host/", files=files, data={"expires_in_seconds": "60"})
    found = {part.name: part for part in parts_of(request.read(), request.headers["content-type"])}
    assert found == {
        "file": Part("file", b"\x89PNG\r\n", "a b.png", "image/png"),
        "expires_in_seconds": Part("expires_in_seconds", b"60"),
    }


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"--fence", b"\r\n", b"--", b": ", b"\xff", b'; name="'])).map(b"".join),
    st.just(FENCED)
    | st.text(st.characters(max_codepoint=255), max_size=30).map("multipart/form-data; boundary=".__add__),
)
def test_any_bytes_are_a_form_or_a_400(raw: bytes, content_type: str) -> None:
    """Never a fault of the server, whatever the header says the fence is."""
    try:
        status = 200 if parts_of(raw, content_type) else 0
    except Problem as problem:
        status = problem.status
    assert status in (200, 400)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400))
def test_a_form_that_is_torn_anywhere_is_refused(cut: int) -> None:
    """Up to the dashes that end it, nothing of it is taken."""
    whole = form(Part("file", b"abc", "a.png", "image/png"), Part("note", b"hello")).removesuffix(b"\r\n")
    with pytest.raises(Problem, match="not a valid form"):
        parts_of(whole[: cut % len(whole)], FENCED)


@pytest.mark.parametrize("raw", [b"", b"--fence--\r\n", b"--fence\r\nno head\r\n--fence--\r\n", b"junk--fence\r\n\r\n"])
def test_what_is_no_form_is_a_400(raw: bytes) -> None:
    """No parts, a part without a head, and other text before the first."""
    with pytest.raises(Problem, match="form"):
        parts_of(raw, FENCED)


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=fence"]
)
def test_another_type_or_none_is_refused_by_the_header_s_name(content_type: str) -> None:
    """A form needs its type and its fence."""
    with pytest.raises(Problem, match="content-type: Input should be 'multipart/form-data' with a boundary"):
        parts_of(form(Part("note", b"x")), content_type)
