"""Where Arrow takes its memory from while a run goes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

__all__ = ["system_memory"]


@contextmanager
def system_memory() -> Iterator[None]:
    """Arrow takes its memory from the system while the block runs, in the whole process.

    Its own allocator keeps what is freed for later: over ten million rows 60 MB more than are needed at any time, so
    that memory would seem to grow with the manifest.
    """
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)
