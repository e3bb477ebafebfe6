"""Where Arrow takes its memory from."""

import pyarrow as pa
import pytest

from pipeline.manifest.allocator import system_memory


def test_the_systems_memory_is_taken_while_the_block_runs() -> None:
    """Whatever was in use before is in use again afterwards, also after a failure."""
    before = pa.default_memory_pool().backend_name
    with system_memory():
        assert pa.default_memory_pool().backend_name == "system"
    with pytest.raises(ZeroDivisionError), system_memory():
        raise ZeroDivisionError
    assert pa.default_memory_pool().backend_name == before
