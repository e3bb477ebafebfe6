"""Objects as files."""

import io
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.object_file import ObjectFile, ObjectStat

CONTENT = bytes(range(200))
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
FOUND = ObjectStat(len(CONTENT), '"tag"', MOMENT)


def read(start: int, end: int, e_tag: str | None) -> bytes:
    """Some bytes, as the store gives them."""
    assert e_tag == '"tag"'
    assert 0 <= start < end <= len(CONTENT)
    return CONTENT[start:end]


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 250)), max_size=10))
@settings(deadline=None, max_examples=50)
def test_it_reads_as_a_file_of_its_bytes(steps: list[tuple[int, int]]) -> None:
    """Wherever it is sought to, and past its end."""
    ours, theirs = io.BufferedReader(ObjectFile(read, FOUND), 16), io.BytesIO(CONTENT)
    for place, size in steps:
        assert ours.seek(place) == theirs.seek(place)
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()
    assert ours.seek(-5, io.SEEK_END) == 195
    assert ours.read() == CONTENT[-5:]


def test_another_content_has_another_version() -> None:
    """By its ETag; by its time where a store has none."""
    other = ObjectStat(len(CONTENT), '"other"', MOMENT)
    later = datetime(2026, 1, 2, tzinfo=UTC)
    assert FOUND.version != other.version
    assert FOUND.version == ObjectStat(0, '"tag"', later).version
    assert ObjectStat(1, None, MOMENT).version != ObjectStat(1, None, later).version
    assert 0 <= FOUND.version < 1 << 63
    assert ObjectStat.of({"size": 200, "e_tag": '"tag"', "last_modified": MOMENT}) == FOUND
