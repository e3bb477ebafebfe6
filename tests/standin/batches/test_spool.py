"""Records on disk."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.batches.spool import Spool


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_records_come_back_by_their_number(records: list[bytes]) -> None:
    """In any order, as often as one likes, empty ones too."""
    spool = Spool()
    for record in records:
        spool.append(record)
    spool.seal()
    assert [spool.read(at) for at in reversed(range(len(spool)))] == records[::-1]
    assert spool.size == sum(map(len, records))
    spool.close()


def test_it_has_no_name_and_leaves_nothing() -> None:
    """A server that is killed leaves no files behind."""
    spool = Spool()
    spool.append(b"x" * 10)
    spool.seal()
    assert os.fstat(spool._file.fileno()).st_nlink == 0
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        spool.read(0)


def test_closing_gives_the_space_back_and_twice_is_no_fault() -> None:
    """No descriptor stays open, whether or not what was written has been sealed."""
    spool = Spool()
    spool.append(b"x" * 10)
    number = spool._file.fileno()
    spool.close()
    spool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_it_is_read_from_many_threads_at_once() -> None:
    """A reading has no place in the file that another could move."""
    spool = Spool()
    records = [bytes([at]) * (at * 37) for at in range(200)]
    for record in records:
        spool.append(record)
    spool.seal()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(spool.read, [*range(200)] * 5)) == records * 5
    spool.close()
