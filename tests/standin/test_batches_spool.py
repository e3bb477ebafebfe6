"""Records on disk."""

import os

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
